// A CLIP's config in each language: its fields as tables, and what reads them. config.h is what others use.
#ifndef ANEMONE_FAMILY_CLIP_CONFIG_LANGUAGES_H_
#define ANEMONE_FAMILY_CLIP_CONFIG_LANGUAGES_H_

#include <span>
#include <string>
#include <vector>

#include "anemone/config.h"
#include "anemone/status.h"
#include "family/clip/clip_config.h"
#include "family/clip/field_codecs.h"

namespace anemone {

// huggingface_config.cc
std::span<const ClipField> HuggingFaceFields();
std::span<const ClipField> HuggingFaceVisionFields();
std::span<const ClipField> HuggingFaceTextFields();
Result<ClipArchitecture> ReadHuggingFaceClip(const Config& config, bool strict, std::vector<std::string>* notes);

// openclip_config.cc
std::span<const ClipField> OpenClipModelFields();
std::span<const ClipField> OpenClipVisionFields();
std::span<const ClipField> OpenClipTextFields();
Result<ClipArchitecture> ReadOpenClip(const Config& config, bool strict, std::vector<std::string>* notes);

// clip_preprocess.cc
std::span<const ClipField> OpenClipPreprocessFields();
std::span<const ClipField> PreprocessorFields();

// nemo_config.cc
Result<ClipArchitecture> ReadNemoClip(const ConfigNode& model);

// That sizes make a model, whoever said them.
Status CheckArchitecture(const ClipArchitecture& spec);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_CLIP_CONFIG_LANGUAGES_H_
