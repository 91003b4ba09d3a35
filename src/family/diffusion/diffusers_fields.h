// Every field of the files of a pipeline of diffusers, and what is done about it (docs/families/stable_diffusion.md).
#ifndef ANEMONE_FAMILY_DIFFUSION_DIFFUSERS_FIELDS_H_
#define ANEMONE_FAMILY_DIFFUSION_DIFFUSERS_FIELDS_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

enum class DiffusersUse : uint8_t {
  kHonored,   // read and written
  kOnly,      // refused unless its value is `value`
  kSampler,   // says how pictures are sampled, which no file of NeMo's or LDM's says: told when it is left out
  kNoEffect,  // does not change what the model computes
};

struct DiffusersField {
  std::string_view key;
  DiffusersUse use;
  std::string_view why;
  std::string_view value = {};  // in YAML: what is written; of kOnly, the one value that is read
  bool is_required = false;     // kOnly: diffusers takes another value where the file is silent
  bool is_written = true;       // false: the class that is written has no such field
};

// A file of the folder. `at`: where its config is in the checkpoint's.
struct DiffusersFile {
  std::string_view at, path;
  std::span<const DiffusersField> fields;
};
std::span<const DiffusersFile> DiffusersFiles();

// The value that a list has for every level, or else `value` itself. Lives as long as `value`.
const ConfigNode& OneForAllLevels(const ConfigNode& value);
// A value for a message, in JSON.
std::string InOneLine(const ConfigNode& value);

// Errors: Unsupported naming a field of another value than is supported, or of no list; without `strict`, the latter is
// a note. `notes`, if given, also receives what says how pictures are sampled.
Status CheckDiffusersFields(const ConfigNode& config, bool strict, std::vector<std::string>* notes);

// Into `config`, under `at`: what is written whatever the model is.
void WriteDiffusersFields(std::string_view at, ConfigNode* config);

// The lists, in Markdown.
std::string DescribeDiffusersFields();

}  // namespace anemone

#endif  // ANEMONE_FAMILY_DIFFUSION_DIFFUSERS_FIELDS_H_
