// A session service with one seeded leak, for the demo: accounts log in over TCP, read and change profile
// entries, and log out. It prints its port, serves until SIGTERM, and leaves by returning from main.
//
// Protocol, one line each:   LOGIN account agent   GET path?key=value&...   PUT key value   LOGOUT   TRUTH
// The leak is at the line marked SEEDED LEAK; TRUTH answers what it has cost so far.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tests/programs/allocation_count.hpp"

namespace {

constexpr int kWorkers = 4;
constexpr std::size_t kCacheEntries = 2000;

// Recently rendered pages, the least recently used leaves first.
class PageCache {
 public:
  std::optional<std::string> find(const std::string& key) {
    const std::lock_guard lock(mutex_);
    const auto found = index_.find(key);
    if (found == index_.end()) return std::nullopt;
    pages_.splice(pages_.begin(), pages_, found->second);
    return found->second->second;
  }

  void put(const std::string& key, std::string page) {
    const std::lock_guard lock(mutex_);
    if (const auto found = index_.find(key); found != index_.end()) {
      found->second->second = std::move(page);
      return;
    }
    pages_.emplace_front(key, std::move(page));
    index_[key] = pages_.begin();
    if (pages_.size() > kCacheEntries) {
      index_.erase(pages_.back().first);
      pages_.pop_back();
    }
  }

 private:
  std::mutex mutex_;
  std::list<std::pair<std::string, std::string>> pages_;
  std::unordered_map<std::string, std::list<std::pair<std::string, std::string>>::iterator> index_;
};

struct AuditEntry {
  std::uint64_t number;
  std::array<char, 64> account;
  std::array<char, 1450> agent;
};

// The last login of every account, for the security team.
class AuditTrail {
 public:
  void record_login(const std::string& account, const std::string& agent) {
    const std::lock_guard lock(mutex_);
    auto* entry = new AuditEntry();  // SEEDED LEAK
    entry->number = ++logins_;
    account.copy(entry->account.data(), entry->account.size() - 1);
    agent.copy(entry->agent.data(), entry->agent.size() - 1);
    // The entry that was here before is forgotten, not deleted.
    const auto [place, first_login] = last_login_.insert_or_assign(account, entry);
    if (!first_login) ++forgotten_;
  }

  std::uint64_t forgotten() const {
    const std::lock_guard lock(mutex_);
    return forgotten_;
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, AuditEntry*> last_login_;
  std::uint64_t logins_ = 0;
  std::uint64_t forgotten_ = 0;
};

struct Session {
  std::string account;
  std::map<std::string, std::string> profile;
  std::deque<std::string> visited;
};

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return parts;
}

class Service {
 public:
  std::string answer(std::unique_ptr<Session>& session, const std::string& line) {
    const std::vector<std::string> words = split(line, ' ');
    if (words.empty()) return "400 empty request\n";
    if (words[0] == "TRUTH") return truth();
    if (words[0] == "LOGIN" && words.size() == 3) return login(session, words[1], words[2]);
    if (!session) return "401 log in first\n";
    if (words[0] == "GET" && words.size() == 2) return get(*session, words[1]);
    if (words[0] == "PUT" && words.size() == 3) return put(*session, words[1], words[2]);
    if (words[0] == "LOGOUT") {
      session.reset();
      return "200 goodbye\n";
    }
    return "400 unknown request\n";
  }

 private:
  std::string login(std::unique_ptr<Session>& session, const std::string& account, const std::string& agent) {
    session = std::make_unique<Session>();
    session->account = account;
    for (const char* key : {"language", "time-zone", "notification-address", "preferred-theme-of-pages"})
      session->profile[std::string("setting/") + key] =
          account + "/" + key + "/as-it-was-when-the-account-was-made";
    audit_.record_login(account, agent);
    return "200 welcome " + account + "\n";
  }

  std::string get(Session& session, const std::string& target) {
    const std::size_t question = target.find('?');
    const std::string path = target.substr(0, question);
    session.visited.push_back(target);
    if (session.visited.size() > 8) session.visited.pop_front();

    std::map<std::string, std::string> arguments;
    if (question != std::string::npos) {
      for (const std::string& pair : split(std::string_view(target).substr(question + 1), '&')) {
        const std::vector<std::string> sides = split(pair, '=');
        if (sides.size() == 2) arguments["argument/of/request/" + sides[0]] = sides[1];
      }
    }
    const std::string key = session.account + path;
    std::string body;
    if (std::optional<std::string> page = cache_.find(key)) {
      body = std::move(*page);
    } else {
      body = render(session, path);
      cache_.put(key, body);
    }
    for (const auto& [name, given] : arguments) body += " " + name + "=" + given;
    return "200 " + body + "\n";
  }

  static std::string put(Session& session, const std::string& key, const std::string& text) {
    session.profile["setting/" + key] = text;
    std::set<std::string> keys;
    for (const auto& entry : session.profile) keys.insert(entry.first);
    return "200 " + std::to_string(keys.size()) + " settings\n";
  }

  static std::string render(const Session& session, const std::string& path) {
    std::vector<std::string> lines;
    lines.push_back("page " + path + " of " + session.account);
    for (const auto& [key, text] : session.profile) lines.push_back(key + " is set to " + text);
    std::string page;
    for (const std::string& line : lines) page += line + "; ";
    return page;
  }

  std::string truth() const {
    count_this_thread();
    const std::uint64_t entries = audit_.forgotten();
    return "200 leaked_bytes=" + std::to_string(entries * sizeof(AuditEntry)) +
           " leaked_entries=" + std::to_string(entries) +
           " allocations=" + std::to_string(counted_allocations()) + "\n";
  }

  PageCache cache_;
  AuditTrail audit_;
};

bool write_all(int connection, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = send(connection, text.data(), text.size(), MSG_NOSIGNAL);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

void serve(Service& service, int connection) {
  std::unique_ptr<Session> session;
  std::string received;
  std::array<char, 16384> buffer;
  while (true) {
    const ssize_t size = recv(connection, buffer.data(), buffer.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return;
    received.append(buffer.data(), static_cast<std::size_t>(size));
    std::string answers;
    std::size_t start = 0;
    for (std::size_t end; (end = received.find('\n', start)) != std::string::npos; start = end + 1)
      answers += service.answer(session, received.substr(start, end - start));
    received.erase(0, start);
    count_this_thread();
    if (!write_all(connection, answers)) return;
  }
}

// Accepted connections on their way to a worker, and those being served, so that stop() can end both.
class Connections {
 public:
  void add(int connection) {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(connection);
    changed_.notify_one();
  }

  // The next connection to serve; -1 after stop().
  int take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopped_ || !waiting_.empty(); });
    if (stopped_) return -1;
    const int connection = waiting_.front();
    waiting_.pop_front();
    served_.insert(connection);
    return connection;
  }

  void done(int connection) {
    const std::lock_guard lock(mutex_);
    served_.erase(connection);
    close(connection);
  }

  void stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    for (const int connection : served_) shutdown(connection, SHUT_RDWR);
    for (const int connection : waiting_) close(connection);
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<int> waiting_;
  std::set<int> served_;
  bool stopped_ = false;
};

int listen_on_loopback(std::uint16_t& port) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  if (listener < 0 || bind(listener, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      listen(listener, 64) != 0 || getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0)
    return -1;
  port = ntohs(address.sin_port);
  return listener;
}

}  // namespace

int main() {
  // Blocked before any thread exists, so that only main's sigwait sees them.
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);

  std::uint16_t port = 0;
  const int listener = listen_on_loopback(port);
  if (listener < 0) {
    std::perror("session_server: listen");
    return 1;
  }
  std::printf("port %d\n", static_cast<int>(port));
  std::fflush(stdout);

  Service service;
  Connections connections;
  std::vector<std::thread> workers;
  for (int i = 0; i < kWorkers; ++i) {
    workers.emplace_back([&] {
      for (int connection; (connection = connections.take()) >= 0; connections.done(connection))
        serve(service, connection);
    });
  }
  std::thread acceptor([&] {
    while (true) {
      const int connection = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (connection >= 0)
        connections.add(connection);
      else if (errno != EINTR && errno != ECONNABORTED)
        return;
    }
  });

  int signal_number = 0;
  sigwait(&stop_signals, &signal_number);
  shutdown(listener, SHUT_RDWR);
  acceptor.join();
  connections.stop();
  for (std::thread& worker : workers) worker.join();
  close(listener);
  return 0;
}
