// JsonStream: JSON in one line, as Config::ToJson(-1) writes it, piece by piece: a list may have a million items.
#ifndef ANEMONE_CONFIG_JSON_STREAM_H_
#define ANEMONE_CONFIG_JSON_STREAM_H_

#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "anemone/config.h"
#include "config/json_string.h"

namespace anemone {

class JsonStream {
 public:
  using Sink = std::function<void(std::string_view text)>;
  explicit JsonStream(Sink sink) : sink_(std::move(sink)) {}

  void BeginMap() { Begin('{', '}'); }
  void BeginList() { Begin('[', ']'); }
  // REQUIRES: as many Begin calls before.
  void End() {
    const std::string close(1, open_.back());
    open_.pop_back();
    is_first_ = false;
    sink_(close);
  }
  // In a map, before each value.
  void Key(std::string_view key) {
    Separate();
    sink_(internal::JsonString(key) + ": ");
    has_key_ = true;
  }
  void Value(ConfigNode value) {
    Separate();
    sink_(Config(std::move(value)).ToJson(-1));
  }
  void Add(std::string_view key, ConfigNode value) {
    Key(key);
    Value(std::move(value));
  }

 private:
  void Begin(char open, char close) {
    Separate();
    sink_(std::string(1, open));
    open_ += close;
    is_first_ = true;
  }
  void Separate() {
    if (!is_first_ && !has_key_) sink_(", ");
    is_first_ = has_key_ = false;
  }

  Sink sink_;
  std::string open_;  // brackets that close what is open
  bool is_first_ = true, has_key_ = false;
};

}  // namespace anemone

#endif  // ANEMONE_CONFIG_JSON_STREAM_H_
