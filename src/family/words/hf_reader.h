// Internal: a decoder's config.json while it is read (hf_config.h).
#ifndef ANEMONE_FAMILY_WORDS_HF_READER_H_
#define ANEMONE_FAMILY_WORDS_HF_READER_H_

#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/status.h"
#include "family/words/hf_architectures.h"

namespace anemone::internal {

// A key with one value that the tables carry; another one is refused.
struct FixedKey {
  std::string_view key, value;  // YAML; null is accepted for what is not true
  std::string_view why;
};

// A config.json as its class reads it, and the words found so far. `json` and `architecture` must outlive it.
class HfReader {
 public:
  HfReader(const ConfigNode& json, const HfArchitecture& architecture);

  const ConfigNode& json() const { return json_; }
  const HfArchitecture& architecture() const { return architecture_; }
  bool Is(std::string_view model_type) const { return architecture_.model_type == model_type; }
  ConfigNode& words() { return words_; }

  // The value of a key, or what the class takes in its place; null: nothing. The key counts as known from then on.
  const ConfigNode& At(std::string_view key);
  // A word, which may be dotted.
  void Set(std::string_view word, ConfigNode value);
  // Errors: Unsupported.
  Status CheckFixed(const FixedKey& fixed);
  // Errors: Corrupt where a key that the class takes for true or false holds something else.
  Status CheckFlags() const;
  void NoteUnknown(std::vector<std::string>* notes) const;

 private:
  const ConfigNode& json_;
  const HfArchitecture& architecture_;
  const ConfigNode silent_;
  std::vector<std::string_view> known_;
  ConfigNode words_;
};

}  // namespace anemone::internal

#endif  // ANEMONE_FAMILY_WORDS_HF_READER_H_
