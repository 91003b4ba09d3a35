// One field of a file that says what a CLIP computes: what is done about it and, where it says something of the model,
// how it is read into an architecture and written from one (field_codecs.h). A table of fields is a section of a file,
// in the order in which it is written.
#ifndef ANEMONE_FAMILY_CLIP_FIELD_H_
#define ANEMONE_FAMILY_CLIP_FIELD_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

enum class FieldUse : uint8_t {
  kHonored,   // read, and the model computes by it
  kOnly,      // changes the model in a way that is not supported: refused unless its value is one of `allowed`
  kNoEffect,  // does not change what the model computes: `why` says so
};

// Reasons that several tables give.
inline constexpr std::string_view kTraining = "only used in training";
inline constexpr std::string_view kInitial = "the stored tensor replaces the initial value";

struct FieldRead;
struct FieldWrite;

// Whose field it is. Another model's is neither read nor written.
enum class FieldOwner : uint8_t { kBoth, kClip, kSiglip };

struct FieldCodec {
  void (*read)(const FieldRead& at) = nullptr;                         // null: says nothing of the architecture
  std::optional<ConfigNode> (*write)(const FieldWrite& at) = nullptr;  // null: never written; nullopt: left out
  std::optional<double> clip = {}, siglip = {};  // a number, where the field is absent; nullopt: it is required
  FieldOwner owner = FieldOwner::kBoth;
};

struct PixelRead;
struct PixelWrite;

// The same of a field that says how pictures are prepared (clip_preprocess.cc).
struct PixelCodec {
  Status (*read)(const PixelRead& at) = nullptr;  // of a value that is there
  std::optional<ConfigNode> (*write)(const PixelWrite& at) = nullptr;
};

struct ClipField {
  std::string_view name;
  FieldUse use;
  std::string_view why;           // what it changes, or why it changes nothing
  std::string_view allowed = {};  // kOnly: a JSON list; absent and null are always allowed
  FieldCodec codec = {};
  PixelCodec pixels = {};

  constexpr ClipField(std::string_view name_, FieldUse use_, std::string_view why_, std::string_view allowed_ = {},
                      FieldCodec codec_ = {})
      : name(name_), use(use_), why(why_), allowed(allowed_), codec(codec_) {}
  constexpr ClipField(std::string_view name_, FieldUse use_, std::string_view why_, FieldCodec codec_)
      : ClipField(name_, use_, why_, std::string_view(), codec_) {}

  constexpr ClipField(std::string_view name_, FieldUse use_, std::string_view why_, PixelCodec pixels_,
                      FieldCodec codec_ = {})
      : name(name_), use(use_), why(why_), codec(codec_), pixels(pixels_) {}

  std::optional<double> Silent(bool siglip) const { return siglip ? codec.siglip : codec.clip; }
};

}  // namespace anemone

#endif  // ANEMONE_FAMILY_CLIP_FIELD_H_
