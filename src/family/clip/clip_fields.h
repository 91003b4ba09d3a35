// Every field of the files that say what a CLIP or SigLIP computes, and what is done about each. Data: the lists below
// are read by whoever reads such a file, and docs/families/clip-fields.md is written from them. Those of a model's
// config are the tables by which it is read and written (config_languages.h).
#ifndef ANEMONE_FAMILY_CLIP_CLIP_FIELDS_H_
#define ANEMONE_FAMILY_CLIP_CLIP_FIELDS_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/status.h"
#include "family/clip/field.h"

namespace anemone {

enum class ClipSection : uint8_t {
  kOpenClipModel,
  kOpenClipVision,
  kOpenClipText,
  kOpenClipPreprocess,
  kHuggingFace,
  kHuggingFaceVision,
  kHuggingFaceText,
  kPretrained,  // what every config.json of transformers may hold, at the top and in each tower
  kPreprocessor,
  kProcessor,
  kTokenizerConfig,
  kSpecialTokens,
  kTokenizer,
  kTokenizerModel,
};

struct ClipFieldList {
  ClipSection section;
  std::string_view file;
  std::string_view path;  // of the map that holds the fields; "" is the root
  std::span<const ClipField> fields;
};
std::span<const ClipFieldList> ClipFieldLists();

// Checks the fields of one map, which may belong to several sections. `where` begins messages: "text_config.". A field
// of no list, other than null and names that begin with "_" (transformers' own bookkeeping), is an error, or with
// `strict` false a note. Errors: Unsupported, naming field, expected values and value.
Status CheckClipFields(const ConfigNode& node, std::span<const ClipSection> sections, std::string_view where,
                       bool strict, std::vector<std::string>* notes);
// The same of a whole config of Hugging Face or OpenCLIP; other configs pass. What nobody knows at the top of a
// config.json of two towers is a note: the model lies in its sections.
Status CheckClipConfigFields(const Config& config, bool strict, std::vector<std::string>* notes);

// The model that config.json names by `model_type` or `architectures` where it is none of CLIP's or SigLIP's:
// "chinese_clip". Empty: it is one of them, or the config says nothing.
std::string ForeignClipModel(const ConfigNode& root);

// The lists as Markdown, for docs/families/clip-fields.md. A test holds the page to it.
std::string DescribeClipFields();

}  // namespace anemone

#endif  // ANEMONE_FAMILY_CLIP_CLIP_FIELDS_H_
