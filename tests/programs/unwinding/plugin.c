// A plugin that calls back, in two builds of the same size whose frames differ. PLUGIN_WORDS: how large its
// frame is.

// The same instructions at the same places, but for the distance that rsp moves.
__attribute__((naked)) void plugin_call(void (*callback)(void*), void* argument) {
  __asm__ volatile(
      "sub %[bytes], %%rsp\n"
      ".cfi_adjust_cfa_offset %c[bytes]\n"
      "mov %%rdi, %%rax\n"
      "mov %%rsi, %%rdi\n"
      "call *%%rax\n"
      "add %[bytes], %%rsp\n"
      ".cfi_adjust_cfa_offset -%c[bytes]\n"
      "ret\n"
      :
      : [bytes] "i"(PLUGIN_WORDS * 8));
}
