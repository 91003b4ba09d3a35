#include "anemone/status.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace anemone {
namespace {

std::string AsAssignment(const Remedy& remedy) { return remedy.option + "=" + remedy.value; }

const Status kNoMemory(ErrorKind::kOutOfMemory, "out of memory");  // made while there is some

}  // namespace

Status OutOfMemory() { return kNoMemory; }

Status::Status(ErrorKind kind, std::string what, std::string hint)
    : error_(std::make_shared<const Error>(Error{kind, {}, std::move(what), std::move(hint)})) {}

Status Status::In(std::string_view coordinate) const {
  // A layer may name the file that the one below it has named.
  if (coordinate.empty() || (!ok() && !error_->where.empty() && error_->where.front() == coordinate)) return *this;
  return Changed([&](Error& error) { error.where.insert(error.where.begin(), std::string(coordinate)); });
}

Status Status::Hint(std::string_view hint) const {
  if (ok() || !error_->hint.empty() || !error_->remedies.empty()) return *this;
  return Changed([&](Error& error) { error.hint = hint; });
}

Status Status::Use(std::string_view option, std::string_view value, std::string_view effect) const {
  const auto is_same = [&](const Remedy& remedy) { return remedy.option == option; };
  if (ok() || std::ranges::any_of(error_->remedies, is_same)) return *this;
  return Changed([&](Error& error) {
    error.remedies.push_back({std::string(option), std::string(value), std::string(effect)});
  });
}

Status Status::As(ErrorKind kind) const {
  return Changed([&](Error& error) { error.kind = kind; });
}

Status Status::OfOption(std::string_view option) const {
  return Changed([&](Error& error) { error.option = option; });
}

std::string Status::message() const {
  if (ok()) return "ok";
  std::string text;
  for (const std::string& coordinate : error_->where) text += coordinate + ": ";
  if (!error_->option.empty()) text += error_->option + ": ";
  return text + error_->what;
}

std::string Advice(const Error& error, const Spelling& spell) {
  std::string text = error.hint;
  const char* before = text.empty() ? "use " : "; use ";
  for (const Remedy& remedy : error.remedies) {
    text += before + spell(remedy) + " to " + remedy.effect;
    before = ", or ";
  }
  return text;
}

std::string Advice(const Error& error) { return Advice(error, AsAssignment); }

Status ErrnoStatus(int error_number, std::string_view action) {
  const ErrorKind kind = error_number == ENOENT   ? ErrorKind::kNotFound
                         : error_number == ENOMEM ? ErrorKind::kOutOfMemory
                                                  : ErrorKind::kIo;
  return {kind, std::string(action) + ": " + std::strerror(error_number)};
}

}  // namespace anemone
