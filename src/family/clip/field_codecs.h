// How fields say what of an architecture: what the rows of a table are made of.
#ifndef ANEMONE_FAMILY_CLIP_FIELD_CODECS_H_
#define ANEMONE_FAMILY_CLIP_FIELD_CODECS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "anemone/config.h"
#include "anemone/status.h"
#include "config/nodes.h"
#include "family/clip/clip_config.h"
#include "family/clip/field.h"

namespace anemone {

// Reads fields of one map, remembering the first failure. A null is an absent field.
class FieldReader {
 public:
  // `where` begins messages: "text_config.".
  FieldReader(const ConfigNode* node, std::string where) : node_(node), where_(std::move(where)) {}

  const ConfigNode* Get(std::string_view key) const;
  // Without a fallback, the field is required.
  uint64_t Size(std::string_view key, std::optional<uint64_t> fallback = std::nullopt);
  double Real(std::string_view key, double fallback);
  bool Bool(std::string_view key, bool fallback);
  std::string Text(std::string_view key, std::string_view fallback);
  // A value that is none: Corrupt.
  void Fail(std::string_view key, std::string_view expected, std::string_view found);
  // A value that is one, and that anemone does not compute: Unsupported.
  void Refuse(std::string_view key, std::string_view expected, std::string_view found);
  const Status& status() const { return status_; }

 private:
  const ConfigNode* node_;
  std::string where_;
  Status status_;
};

// A field while its section is read or written. `tower` is the section's; null outside one.
struct FieldRead {
  FieldReader& in;
  const ClipField& field;
  ClipArchitecture& spec;
  TowerArchitecture* tower;
};
struct FieldWrite {
  const ClipField& field;
  const ClipArchitecture& spec;
  const TowerArchitecture* tower;
};

void ReadFields(std::span<const ClipField> fields, FieldReader& in, ClipArchitecture& spec,
                TowerArchitecture* tower = nullptr);
// Into `node`, where the order of what is there stays.
void WriteFields(std::span<const ClipField> fields, const ClipArchitecture& spec, const TowerArchitecture* tower,
                 ConfigNode& node);

// The member of the section's tower or of the whole.
template <auto member, typename At>
auto& MemberOf(const At& at) {
  if constexpr (std::is_invocable_v<decltype(member), ClipArchitecture&>) {
    return at.spec.*member;
  } else {
    return at.tower->*member;
  }
}

template <auto member>
void ReadNumber(const FieldRead& at) {
  auto& to = MemberOf<member>(at);
  const std::optional<double> silent = at.field.Silent(at.spec.siglip);
  if constexpr (std::is_same_v<decltype(to), double&>) {
    to = at.in.Real(at.field.name, silent.value_or(0));
  } else {
    to = at.in.Size(at.field.name, silent ? std::optional(static_cast<uint64_t>(*silent)) : std::nullopt);
  }
}

template <auto member>
std::optional<ConfigNode> WriteNumber(const FieldWrite& at) {
  const auto& from = MemberOf<member>(at);
  if constexpr (std::is_same_v<decltype(from), const double&>) {
    return ConfigNode::Float(from);
  } else if constexpr (std::is_same_v<decltype(from), const uint64_t&>) {
    return SizeNode(from);
  } else {
    return SizeNode(from.value_or(static_cast<uint64_t>(at.field.Silent(at.spec.siglip).value_or(0))));
  }
}

// A number of its own name, which a member holds: `Number<&TowerArchitecture::width>(512, 768)` is 512 where a CLIP's
// config is silent, 768 where a SigLIP's is; `Number<…>(77)` is 77 in both.
template <auto member>
constexpr FieldCodec Number(std::optional<double> clip = {}, std::optional<double> siglip = {}) {
  return {ReadNumber<member>, WriteNumber<member>, clip, siglip ? siglip : clip, FieldOwner::kBoth};
}

// A member's value where others read it, which this program takes from elsewhere.
template <auto member>
constexpr FieldCodec Written() {
  return {.write = WriteNumber<member>};
}

inline std::optional<ConfigNode> WriteSilent(const FieldWrite& at) {
  return ConfigNode::Float(at.field.Silent(at.spec.siglip).value_or(0));
}
inline std::optional<ConfigNode> WriteWholeSilent(const FieldWrite& at) {
  return SizeNode(static_cast<uint64_t>(at.field.Silent(at.spec.siglip).value_or(0)));
}
// What every file says alike.
constexpr FieldCodec Real(double value) { return {.write = WriteSilent, .clip = value, .siglip = value}; }
constexpr FieldCodec Whole(double value) { return {.write = WriteWholeSilent, .clip = value, .siglip = value}; }

constexpr FieldCodec OfClip(FieldCodec codec) {
  codec.owner = FieldOwner::kClip;
  return codec;
}
constexpr FieldCodec OfSiglip(FieldCodec codec) {
  codec.owner = FieldOwner::kSiglip;
  return codec;
}

}  // namespace anemone

#endif  // ANEMONE_FAMILY_CLIP_FIELD_CODECS_H_
