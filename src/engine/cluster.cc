#include "engine/cluster.h"

#include <algorithm>

namespace anemone {
namespace {

// A Status as text: empty, or the kind and every string, each behind a NUL; the number of remedies says where they end.
std::string Encode(const Status& status) {
  if (status.ok()) return {};
  const Error& error = status.error();
  std::string text(1, static_cast<char>(error.kind));
  const auto add = [&](const std::string& part) { text += '\0' + part; };
  for (const std::string* part : {&error.what, &error.hint, &error.option}) add(*part);
  add(std::to_string(error.remedies.size()));
  for (const Remedy& remedy : error.remedies) {
    for (const std::string* part : {&remedy.option, &remedy.value, &remedy.effect}) add(*part);
  }
  for (const std::string& where : error.where) add(where);
  return text;
}

constexpr size_t kFirstRemedy = 4;  // behind what, hint, option and the number of remedies

Status Decode(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t at = 1; at < text.size();) {
    const size_t end = std::min(text.find('\0', at + 1), text.size());
    parts.push_back(text.substr(at + 1, end - at - 1));
    at = end;
  }
  Status status = Status(static_cast<ErrorKind>(text[0]), parts[0], parts[1]).OfOption(parts[2]);
  const size_t remedies_end = kFirstRemedy + 3 * std::stoul(parts[kFirstRemedy - 1]);
  for (size_t i = kFirstRemedy; i < remedies_end; i += 3) status = status.Use(parts[i], parts[i + 1], parts[i + 2]);
  for (size_t i = parts.size(); i-- > remedies_end;) status = status.In(parts[i]);
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
