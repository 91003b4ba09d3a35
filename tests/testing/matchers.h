// Matchers for Status and Result: IsOk(), StatusIs(kind, substring). There is no "not ok" matcher on purpose: a test
// says which failure it expects.
#ifndef ANEMONE_TESTS_TESTING_MATCHERS_H_
#define ANEMONE_TESTS_TESTING_MATCHERS_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "anemone/status.h"

namespace anemone::testing {

inline const Status& ToStatus(const Status& status) { return status; }
template <typename T>
const Status& ToStatus(const Result<T>& result) {
  return result.status();
}

MATCHER(IsOk, "is ok") {
  const Status& status = ToStatus(arg);
  if (!status.ok()) *result_listener << status.message();
  return status.ok();
}

MATCHER_P2(StatusIs, kind, substring, "fails with the given kind and words") {
  const Status& status = ToStatus(arg);
  if (status.ok()) {
    *result_listener << "ok";
    return false;
  }
  *result_listener << "kind " << static_cast<int>(status.kind()) << ": " << status.message() << " | "
                   << Advice(status.error());
  return status.kind() == kind &&
         (status.message() + "\n" + Advice(status.error())).find(substring) != std::string::npos;
}

// Declares `lhs` from a Result, or fails the test with its message.
#define ANEMONE_ASSERT_ASSIGN(lhs, expr) \
  ANEMONE_ASSERT_ASSIGN_INNER(ANEMONE_CONCAT(anemone_result_, __LINE__), lhs, expr)
#define ANEMONE_ASSERT_ASSIGN_INNER(tmp, lhs, expr) \
  auto tmp = (expr);                                \
  ASSERT_TRUE(tmp.ok()) << tmp.status().message();  \
  lhs = *std::move(tmp)

inline std::string Golden(const std::string& relative) {
  return (std::filesystem::absolute(ANEMONE_GOLDEN_DIR) / relative).string();
}

}  // namespace anemone::testing

#endif  // ANEMONE_TESTS_TESTING_MATCHERS_H_
