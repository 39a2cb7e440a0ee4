// Calls a function as a hook would call a capture: with the stack pointer and rbp that its own caller had.
// What asm in a C++ function reads as rbp may be that function's own.
#pragma once

#include "preload/unwind/unwinder.hpp"

namespace memtrace::test {

extern "C" void memtrace_test_with_caller(void (*function)(const Caller* caller, void* argument),
                                          void* argument);

// One copy in a program: where it is used, as a weak function.
asm(R"(
.pushsection .text.memtrace_test_with_caller, "ax", @progbits
.weak memtrace_test_with_caller
.type memtrace_test_with_caller, @function
memtrace_test_with_caller:
  .cfi_startproc
  lea 8(%rsp), %rax
  push %rbp
  .cfi_adjust_cfa_offset 8
  push %rax
  .cfi_adjust_cfa_offset 8
  mov %rdi, %rax
  mov %rsp, %rdi
  sub $8, %rsp
  .cfi_adjust_cfa_offset 8
  call *%rax
  add $24, %rsp
  .cfi_adjust_cfa_offset -24
  ret
  .cfi_endproc
.size memtrace_test_with_caller, .-memtrace_test_with_caller
.popsection
)");

}  // namespace memtrace::test
