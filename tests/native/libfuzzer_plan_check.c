// SPDX-License-Identifier: Apache-2.0
//
// The same question for libFuzzer, which finds its own way by coverage; run by hand:
//
//   clang -g -O1 -fsanitize=fuzzer,address,undefined -Iociruntime/native \
//       tests/native/libfuzzer_plan_check.c ociruntime/native/plan_check.c -o /tmp/fuzz
//   python3 tests/native/corpus.py /tmp/plans && mkdir -p /tmp/found && /tmp/fuzz /tmp/found /tmp/plans
//
// It stops at the first buffer that plan_check accepts and that init would read out of.

#include "obey_plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint32_t where;
  if (size <= UINT32_MAX && plan_check(data, (uint32_t)size, &where) == 0)
    obey_copy(data, (uint32_t)size);
  return 0;
}
