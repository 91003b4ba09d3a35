// Status, Result<T>: how every anemone call says what went wrong.
//
// Contents:  ErrorKind, Remedy, Error, Status, Advice, Result<T>, ANEMONE_TRY, ANEMONE_ASSIGN.
// Use when:  a call can fail on what a file or a user says. Nothing here throws; the library never prints, exits or
//            aborts on input. Running out of memory throws std::bad_alloc to the caller, or is kOutOfMemory where a
//            worker thread met it.
// Differs from std::expected (C++23): a strict subset of it, with coordinates that each layer may add once.
#ifndef ANEMONE_STATUS_H_
#define ANEMONE_STATUS_H_

#include <cassert>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace anemone {

enum class ErrorKind : uint8_t {
  kNotFound,         // the path, tensor or config key named does not exist
  kAlreadyExists,    // the output is there and may not be replaced
  kCannotCreate,     // the output's folder is missing or not writable
  kInvalidArgument,  // the caller asked for something that has no meaning
  kCorrupt,          // the input breaks a rule of its format
  kUnsupported,      // valid input that this build does not carry
  kLimitExceeded,    // valid perhaps, but beyond a stated limit
  kIo,               // reading or writing failed: disk full, device error
  kUnavailable,      // a remote service did not serve
  kInterrupted,      // the caller cancelled
  kOutOfMemory,      // the system gave no memory
  kInternal,         // a bug in anemone
};

// A way on from a failure: an option of the call that failed, and the value that changes the outcome.
struct Remedy {
  std::string option;  // as the call's options name it: "strict", "split_rank"; each front end spells it as its own
  std::string value;   // "true", "false", a word, or a placeholder such as "FILE"
  std::string effect;  // what for, as an infinitive: "replace it"
};

// One failure. Coordinates run from the outside in: file, member, record, tensor or byte.
struct Error {
  ErrorKind kind = ErrorKind::kInternal;
  std::vector<std::string> where;
  std::string what;                   // "expected …, found …"; one line, no full stop
  std::string hint;                   // what to do, where no option does it; may be empty
  std::string option = {};            // the option that is wrong, as a Remedy names it; empty if none is
  std::vector<Remedy> remedies = {};  // the options that go on
};

// Success, or one Error. Copying is cheap (shared, immutable). Thread-safe to read.
class [[nodiscard]] Status {
 public:
  Status() = default;  // success
  Status(ErrorKind kind, std::string what, std::string hint = {});

  bool ok() const { return error_ == nullptr; }
  explicit operator bool() const { return ok(); }
  const Error& error() const {  // REQUIRES: !ok()
    assert(!ok());
    return *error_;
  }
  ErrorKind kind() const { return error().kind; }  // REQUIRES: !ok()

  // The same failure with one more outer coordinate. Success stays success.
  Status In(std::string_view coordinate) const;
  // The same failure with this hint, unless it already carries one or a remedy.
  Status Hint(std::string_view hint) const;
  // The same failure with one more remedy, unless it has one of the same option.
  Status Use(std::string_view option, std::string_view value, std::string_view effect) const;
  // The same failure as one of another kind.
  Status As(ErrorKind kind) const;
  // The same failure, as one of the option's value.
  Status OfOption(std::string_view option) const;
  // "where: where: option: what", without the advice. "ok" for success.
  std::string message() const;

 private:
  // This failure after `change`; success stays success.
  template <typename F>
  Status Changed(const F& change) const {
    if (ok()) return *this;
    auto error = std::make_shared<Error>(*error_);
    change(*error);
    Status result;
    result.error_ = std::move(error);
    return result;
  }

  std::shared_ptr<const Error> error_;
};

inline Status Corrupt(std::string what, std::string hint = {}) {
  return {ErrorKind::kCorrupt, std::move(what), std::move(hint)};
}
inline Status Unsupported(std::string what, std::string hint = {}) {
  return {ErrorKind::kUnsupported, std::move(what), std::move(hint)};
}
inline Status InvalidArgument(std::string what, std::string hint = {}) {
  return {ErrorKind::kInvalidArgument, std::move(what), std::move(hint)};
}
inline Status LimitExceeded(std::string what, std::string hint = {}) {
  return {ErrorKind::kLimitExceeded, std::move(what), std::move(hint)};
}
inline Status NotFound(std::string what, std::string hint = {}) {
  return {ErrorKind::kNotFound, std::move(what), std::move(hint)};
}
// A caller that was asked whether to go on has said no.
inline Status Interrupted() { return {ErrorKind::kInterrupted, "interrupted"}; }
inline Status Internal(std::string what) { return {ErrorKind::kInternal, std::move(what)}; }
// The value of `option` is wrong.
inline Status WrongOption(std::string_view option, std::string what, std::string hint = {}) {
  return InvalidArgument(std::move(what), std::move(hint)).OfOption(option);
}
// Made without asking for memory.
Status OutOfMemory();
// An I/O failure described by errno: ENOENT becomes kNotFound, ENOSPC and the rest kIo.
Status ErrnoStatus(int error_number, std::string_view action);

// One line of advice about a failure: the hint, then "use OPTION to EFFECT" for each remedy. `spell` writes a remedy's
// option with its value. Empty when the failure has neither.
using Spelling = std::function<std::string(const Remedy& remedy)>;
std::string Advice(const Error& error, const Spelling& spell);
// The same with options as the library's callers set them: "use force=true to replace it".
std::string Advice(const Error& error);

// A T, or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT(google-explicit-constructor)
  // Success without a value has no meaning: an ok `status` becomes an Internal error.
  Result(Status status)  // NOLINT(google-explicit-constructor)
      : status_(status.ok() ? Internal("expected a value or an error, found neither") : std::move(status)) {}
  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  // REQUIRES: ok()
  T& operator*() & { return Value(*this); }
  const T& operator*() const& { return Value(*this); }
  T&& operator*() && { return std::move(Value(*this)); }
  T* operator->() { return &Value(*this); }
  const T* operator->() const { return &Value(*this); }

 private:
  template <typename Self>
  static auto& Value(Self& self) {
    assert(self.ok());
    return *self.value_;
  }

  std::optional<T> value_;
  Status status_;
};

#define ANEMONE_CONCAT_INNER(a, b) a##b
#define ANEMONE_CONCAT(a, b) ANEMONE_CONCAT_INNER(a, b)

// Returns from the enclosing function when `expr` (a Status) failed.
#define ANEMONE_TRY(expr)                                                                          \
  do {                                                                                             \
    if (::anemone::Status anemone_status_ = (expr); !anemone_status_.ok()) return anemone_status_; \
  } while (false)

// ANEMONE_ASSIGN(auto x, F()): declares or assigns from a Result, or returns its Status.
#define ANEMONE_ASSIGN(lhs, expr) ANEMONE_ASSIGN_INNER(ANEMONE_CONCAT(anemone_result_, __LINE__), lhs, expr)
#define ANEMONE_ASSIGN_INNER(tmp, lhs, expr) \
  auto tmp = (expr);                         \
  if (!tmp.ok()) return tmp.status();        \
  lhs = *std::move(tmp)

}  // namespace anemone

#endif  // ANEMONE_STATUS_H_
