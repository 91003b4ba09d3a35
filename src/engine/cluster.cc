#include "engine/cluster.h"

#include <algorithm>

namespace anemone {
namespace {

// A Status as text: empty, or the kind and every string, each behind a NUL.
std::string Encode(const Status& status) {
  if (status.ok()) return {};
  const Error& error = status.error();
  std::string text(1, static_cast<char>(error.kind));
  for (const std::string* part : {&error.what, &error.hint}) text += '\0' + *part;
  for (const std::string& where : error.where) text += '\0' + where;
  return text;
}

Status Decode(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t at = 1; at < text.size();) {
    const size_t end = std::min(text.find('\0', at + 1), text.size());
    parts.push_back(text.substr(at + 1, end - at - 1));
    at = end;
  }
  Status status(static_cast<ErrorKind>(text[0]), parts[0], parts[1]);
  for (size_t i = parts.size(); i-- > 2;) status = status.In(parts[i]);
  return status;
}

}  // namespace

Status Cluster::Agree(const Status& status) {
  if (size() == 1) return status;
  const std::vector<std::string> all = Gather(Encode(status));
  const auto failed = [](const std::string& text) { return !text.empty(); };
  const auto to_blame = [&](const std::string& text) {
    return failed(text) && text[0] != static_cast<char>(ErrorKind::kInterrupted);
  };
  auto first = std::ranges::find_if(all, to_blame);
  if (first == all.end()) first = std::ranges::find_if(all, failed);
  if (first == all.end()) return {};
  const bool alike = std::ranges::all_of(all, [&](const std::string& text) { return text == *first; });
  const Status failure = Decode(*first);
  return alike ? failure : failure.In("rank " + std::to_string(first - all.begin()));
}

Status Cluster::Follow(const Status& status) {
  if (size() == 1) return status;
  const std::string first = Gather(Encode(status))[0];
  return first.empty() ? Status() : Decode(first);
}

Cluster& Cluster::Alone() {
  static Cluster alone;
  return alone;
}

}  // namespace anemone
