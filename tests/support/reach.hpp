// Access to a private member, for states that only a vanished thread leaves behind:
//
//   struct Lock;
//   template struct memtrace::test::Reach<Lock, &LiveMaps::lock_>;
//   ... reach(test::Member<Lock>{}, maps).acquire(owner) ...
//
// An explicit instantiation may name what is private.
#pragma once

namespace memtrace::test {

template <class Name>
struct Member {
  template <class T>
  friend auto& reach(Member, T&);
};

template <class Name, auto Pointer>
struct Reach {
  template <class T>
  friend auto& reach(Member<Name>, T& object) {
    return object.*Pointer;
  }
};

}  // namespace memtrace::test
