// Reads pickles from stdin, each behind its length in four little-endian bytes. Writes for each two such texts: the
// value that was read, as pickle_test.py shows Python's, and the pickle that is written of it. Both are empty where it
// is refused; the second then is the message.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <string>
#include <unordered_map>
#include <vector>

#include "container/pickle.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;
constexpr int kMaxDepth = 150;

// Values of which Python can tell whether they are one have a number; the second time it is all that is shown.
class Shower {
 public:
  std::string text;
  bool is_deep = false;

  void Show(const ValueNode& node, int depth = 0) {
    if (depth > kMaxDepth) is_deep = true;
    if (is_deep) return;
    switch (node.kind) {
      case Kind::kNone:
        text += "None ";
        return;
      case Kind::kBool:
        text += node.integer != 0 ? "True " : "False ";
        return;
      case Kind::kInt:
        text += std::to_string(node.integer) + " ";
        return;
      case Kind::kBigInt:
        text += node.text + " ";
        return;
      case Kind::kFloat: {
        char hex[20];
        std::snprintf(hex, sizeof hex, "f%016lx ", std::bit_cast<uint64_t>(node.real));
        text += node.real != node.real ? "nan " : hex;
        return;
      }
      case Kind::kString:
        return Text('s', node.text);
      case Kind::kBytes:
        if (node.integer != 0 && IsKnown(node)) return;
        return Text(node.integer != 0 ? 'y' : 'b', node.text);
      case Kind::kTuple:
        return Items("( ", node.items, ") ", depth);
      case Kind::kSet:
        if (node.integer == 0 && IsKnown(node)) return;
        return Members(node, depth);
      case Kind::kList:
        return IsKnown(node) ? void() : Items("[ ", node.items, "] ", depth);
      case Kind::kDict:
        return IsKnown(node) ? void() : Items("{ ", node.items, "} ", depth);
      case Kind::kGlobal:
        text += "g" + node.text + " ";
        return;
      case Kind::kPersistent:
        return IsKnown(node) ? void() : Items("p( ", node.items, ") ", depth);
      case Kind::kObject:
        return IsKnown(node) ? void() : Object(node, depth);
      case Kind::kTensor:
        text += "tensor ";
        return;
    }
  }

 private:
  bool IsKnown(const ValueNode& node) {
    const auto [place, is_first] = numbers_.emplace(&node, numbers_.size());
    text += (is_first ? "#" : "@") + std::to_string(place->second) + " ";
    return !is_first;
  }
  void Text(char kind, const std::string& bytes) { text += kind + std::to_string(bytes.size()) + ":" + bytes + " "; }
  void Items(const char* open, const ValueList& items, const char* close, int depth) {
    text += open;
    for (const ValueRef item : items) Show(*item, depth + 1);
    text += close;
  }
  void Members(const ValueNode& set, int depth) {
    std::vector<std::string> members;
    for (const ValueRef item : set.items) {
      Shower alone;
      alone.Show(*item, depth + 1);
      is_deep |= alone.is_deep;
      members.push_back(alone.text);
    }
    std::ranges::sort(members);
    text += set.integer != 0 ? "frozenset " : "set ";
    for (const std::string& member : members) text += member;
    text += "end ";
  }
  void Object(const ValueNode& node, int depth) {
    const bool has_keywords = IsCall(node, "copyreg __newobj_ex__") && node.items.size() == 3 &&
                              node.items[1]->kind == Kind::kTuple && node.items[2]->kind == Kind::kDict;
    text += has_keywords || node.is_new ? "new " : "call ";
    Show(has_keywords ? *node.items[0] : *node.callable, depth + 1);
    Items("( ", has_keywords ? node.items[1]->items : node.items, ") ", depth);
    Items("keywords ", has_keywords ? node.items[2]->items : ValueList(), "end ", depth);
    text += "state ";
    if (node.state != nullptr) Show(*node.state, depth + 1);
    Items("appended ", node.appended, "end ", depth);
    Items("entries ", node.entries, "end ", depth);
  }

  std::unordered_map<const ValueNode*, size_t> numbers_;
};

void Write(const std::string& text) {
  const auto size = static_cast<uint32_t>(text.size());
  std::fwrite(&size, sizeof size, 1, stdout);
  std::fwrite(text.data(), 1, text.size(), stdout);
}

void Answer(const std::string& pickle) {
  const Result<Value> value = ReadPickle(pickle);
  if (!value.ok()) return Write(""), Write(value.status().message());
  Shower shower;
  shower.Show(*value->node);
  Write(shower.is_deep ? "deep" : shower.text);
  const Result<std::string> written = WritePickle(*value);
  Write(written.ok() ? *written : "");
}

int Main() {
  for (uint32_t size = 0; std::fread(&size, sizeof size, 1, stdin) == 1;) {
    std::string pickle(size, '\0');
    if (std::fread(pickle.data(), 1, size, stdin) != size) return 1;
    Answer(pickle);
  }
  return 0;
}

}  // namespace
}  // namespace anemone

int main() { return anemone::Main(); }
