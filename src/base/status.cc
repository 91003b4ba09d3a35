#include "anemone/status.h"

#include <cerrno>
#include <cstring>

namespace anemone {
namespace {

const Status kNoMemory(ErrorKind::kOutOfMemory, "out of memory");  // made while there is some

}  // namespace

Status OutOfMemory() { return kNoMemory; }

Status::Status(ErrorKind kind, std::string what, std::string hint)
    : error_(std::make_shared<const Error>(Error{kind, {}, std::move(what), std::move(hint)})) {}

Status Status::In(std::string_view coordinate) const {
  if (ok()) return *this;
  Error error = *error_;
  error.where.insert(error.where.begin(), std::string(coordinate));
  Status result;
  result.error_ = std::make_shared<const Error>(std::move(error));
  return result;
}

Status Status::Hint(std::string_view hint) const {
  if (ok() || !error_->hint.empty()) return *this;
  Error error = *error_;
  error.hint = hint;
  Status result;
  result.error_ = std::make_shared<const Error>(std::move(error));
  return result;
}

std::string Status::message() const {
  if (ok()) return "ok";
  std::string text;
  for (const std::string& coordinate : error_->where) text += coordinate + ": ";
  return text + error_->what;
}

Status ErrnoStatus(int error_number, std::string_view action) {
  const ErrorKind kind = error_number == ENOENT ? ErrorKind::kNotFound : ErrorKind::kIo;
  return {kind, std::string(action) + ": " + std::strerror(error_number)};
}

}  // namespace anemone
