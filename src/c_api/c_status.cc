// Status and memory, as C sees them.
#include <cstdlib>
#include <cstring>
#include <string>

#include "anemone/version.h"
#include "c_api/call.h"

struct anemone_status {
  anemone_kind kind;
  std::string message;
  std::string hint;
  std::string details;
};

namespace anemone::c_api {
namespace {

static_assert(static_cast<int>(ErrorKind::kNotFound) + 1 == ANEMONE_NOT_FOUND);
static_assert(static_cast<int>(ErrorKind::kIo) + 1 == ANEMONE_IO);
static_assert(static_cast<int>(ErrorKind::kInternal) + 1 == ANEMONE_INTERNAL);

anemone_status* NoMemory() noexcept {
  static anemone_status status{ANEMONE_OUT_OF_MEMORY, "out of memory", "",
                               R"({"where":[],"hint":"","remedies":[]})"};  // short texts are stored in place
  return &status;
}

std::string Details(const Error& error) {
  ConfigNode node = ConfigNode::Map();
  ConfigNode& where = node["where"] = ConfigNode::List();
  for (const std::string& coordinate : error.where) where.list.push_back(ConfigNode::String(coordinate));
  node["hint"] = ConfigNode::String(error.hint);
  ConfigNode& remedies = node["remedies"] = ConfigNode::List();
  for (const Remedy& remedy : error.remedies) {
    ConfigNode entry = ConfigNode::Map();
    entry["option"] = ConfigNode::String(remedy.option);
    entry["value"] = ConfigNode::String(remedy.value);
    entry["effect"] = ConfigNode::String(remedy.effect);
    remedies.list.push_back(std::move(entry));
  }
  return Config(std::move(node)).ToJson(-1);
}

}  // namespace

anemone_status* ToC(const Status& status) noexcept {
  if (status.ok()) return nullptr;
  try {
    if (status.kind() == ErrorKind::kOutOfMemory) return NoMemory();
    const auto kind = static_cast<anemone_kind>(static_cast<int>(status.kind()) + 1);
    return new anemone_status{kind, status.message(), Advice(status.error()), Details(status.error())};
  } catch (...) {
    return NoMemory();
  }
}

void* Allocate(size_t bytes) {
  void* memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

char* CopyText(std::string_view text) {
  char* copy = static_cast<char*>(Allocate(text.size() + 1));
  std::memcpy(copy, text.data(), text.size());
  copy[text.size()] = 0;
  return copy;
}

}  // namespace anemone::c_api

const char* anemone_version() { return anemone::kVersion.data(); }

void anemone_free(void* memory) { std::free(memory); }

anemone_kind anemone_status_kind(const anemone_status* status) { return status == nullptr ? ANEMONE_OK : status->kind; }

const char* anemone_status_message(const anemone_status* status) {
  return status == nullptr ? "" : status->message.c_str();
}

const char* anemone_status_hint(const anemone_status* status) { return status == nullptr ? "" : status->hint.c_str(); }

const char* anemone_status_details(const anemone_status* status) {
  return status == nullptr ? "{}" : status->details.c_str();
}

void anemone_status_free(anemone_status* status) {
  if (status != anemone::c_api::NoMemory()) delete status;
}
