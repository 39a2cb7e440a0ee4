// Loads session_server: connections in parallel, each a number of sessions, each a login and some requests.
//   session_client PORT load CONNECTIONS SESSIONS      SESSIONS on each connection; checks every answer
//   session_client PORT truth                          prints what the service says about its own leak
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr int kAccounts = 500;
constexpr int kRequests = 30;

int connect_to(std::uint16_t port) {
  const int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (connection < 0 || connect(connection, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    std::perror("session_client: connect");
    std::exit(1);
  }
  return connection;
}

// Sends the requests and returns the answers, one line for each of `lines` requests; empty on failure.
std::string exchange(int connection, std::string_view requests, long lines) {
  while (!requests.empty()) {
    const ssize_t written = send(connection, requests.data(), requests.size(), MSG_NOSIGNAL);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return {};
    requests.remove_prefix(static_cast<std::size_t>(written));
  }
  std::string answers;
  std::array<char, 16384> buffer;
  while (lines > 0) {
    const ssize_t size = recv(connection, buffer.data(), buffer.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return {};
    const std::string_view piece(buffer.data(), static_cast<std::size_t>(size));
    lines -= std::count(piece.begin(), piece.end(), '\n');
    answers += piece;
  }
  return answers;
}

std::string session_requests(int account) {
  const std::string name = "account-number-" + std::to_string(account);
  std::string requests = "LOGIN " + name + " agent/of/a/rather/long/winded/program/version-17\n";
  for (int i = 0; i < kRequests; ++i) {
    requests += "GET /profile/page-" + std::to_string(i % 3) +
                "?sort=by-the-date-of-last-change&filter=everything-that-is-visible&position=" +
                std::to_string(100000000000000000 + i) +
                "&language=as-set-in-the-profile&layout=two-columns-and-a-footer\n";
    if (i % 3 == 0)
      requests += "PUT preferred-theme-of-pages dark-with-large-letters-" + std::to_string(i) + "\n";
  }
  return requests + "LOGOUT\n";
}

bool load(std::uint16_t port, int first_account, long sessions) {
  const int connection = connect_to(port);
  bool good = true;
  for (long i = 0; good && i < sessions; ++i) {
    const std::string requests = session_requests(static_cast<int>((first_account + i) % kAccounts));
    const long lines = std::count(requests.begin(), requests.end(), '\n');
    const std::string answers = exchange(connection, requests, lines);
    good = !answers.empty() && answers.find("\n4") == std::string::npos && answers.compare(0, 3, "200") == 0;
  }
  close(connection);
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 2 ? argv[2] : "";
  if (!(what == "truth" && argc == 3) && !(what == "load" && argc == 5)) {
    std::fprintf(stderr,
                 "usage: session_client PORT load CONNECTIONS SESSIONS | session_client PORT truth\n");
    return 2;
  }
  const auto port = static_cast<std::uint16_t>(std::atoi(argv[1]));
  if (what == "truth") {
    const int connection = connect_to(port);
    const std::string answer = exchange(connection, "TRUTH\n", 1);
    close(connection);
    if (answer.compare(0, 4, "200 ") != 0) return 1;
    std::fputs(answer.c_str() + 4, stdout);
    return 0;
  }
  const int connections = std::atoi(argv[3]);
  const long sessions = std::atol(argv[4]);
  std::atomic<bool> good{true};
  std::vector<std::thread> threads;
  for (int i = 0; i < connections; ++i) {
    threads.emplace_back([&, i] {
      if (!load(port, i * kAccounts / connections, sessions)) good = false;
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (!good) std::fprintf(stderr, "session_client: the service closed a connection or refused a request\n");
  return good ? 0 : 1;
}
