#include "family/clip/clip_fields.h"

#include <fmt/format.h>

#include <algorithm>

#include "family/clip/config_languages.h"

namespace anemone {
namespace {

using enum FieldUse;

// ---- what every config.json may hold [transformers configuration_utils.py] ----

constexpr std::string_view kOtherModel = "another model than two towers of transformer blocks";

constexpr std::string_view kGeneration = "a setting of text generation, which CLIP does not do";
constexpr std::string_view kAnswer = "the form of the answer";
constexpr std::string_view kSource = "a note on where the file comes from";

constexpr ClipField kPretrainedFields[] = {
    {"architectures", kHonored, "the class; others than CLIP's and SigLIP's are another model"},
    {"model_type", kHonored, "the model; others than clip and siglip are another model"},
    {"torch_dtype", kNoEffect, "the stored tensors say their dtype"},
    {"dtype", kNoEffect, "the stored tensors say their dtype"},
    {"transformers_version", kNoEffect, kSource},
    {"name_or_path", kNoEffect, kSource},
    {"attn_implementation", kNoEffect, "which kernel computes the same attention"},
    {"auto_map", kOnly, "the model is computed by code of its own", "[]"},
    {"quantization_config", kOnly, "quantized weights", "[]"},
    {"pruned_heads", kOnly, "attention heads taken out", "[{}, []]"},
    {"is_decoder", kOnly, "another attention", "[false]"},
    {"add_cross_attention", kOnly, "another attention", "[false]"},
    {"is_encoder_decoder", kOnly, kOtherModel, "[false]"},
    {"cross_attention_hidden_size", kNoEffect, "only read with add_cross_attention, which is refused"},
    {"tie_encoder_decoder", kNoEffect, "there is no decoder"},
    {"tie_word_embeddings", kNoEffect, "there is no output embedding"},
    {"chunk_size_feed_forward", kNoEffect, "computes the same in parts"},
    {"gradient_checkpointing", kNoEffect, kTraining},
    {"use_cache", kNoEffect, kGeneration},
    {"output_attentions", kNoEffect, kAnswer},
    {"output_hidden_states", kNoEffect, kAnswer},
    {"return_dict", kNoEffect, kAnswer},
    {"use_return_dict", kNoEffect, kAnswer},
    {"torchscript", kNoEffect, kAnswer},
    {"use_bfloat16", kNoEffect, "only read by TensorFlow models"},
    {"tf_legacy_loss", kNoEffect, "only read by TensorFlow models"},
    {"finetuning_task", kNoEffect, kSource},
    {"task_specific_params", kNoEffect, kGeneration},
    {"problem_type", kNoEffect, "only read by classifiers"},
    {"id2label", kNoEffect, "only read by classifiers"},
    {"label2id", kNoEffect, "only read by classifiers"},
    {"num_labels", kNoEffect, "only read by classifiers"},
    {"tokenizer_class", kNoEffect, "tokenizer_config.json says it"},
    {"prefix", kNoEffect, kGeneration},
    {"bos_token_id", kNoEffect, "the tokenizer begins each text"},
    {"pad_token_id", kNoEffect, "padding follows the pooled token, which does not see it"},
    {"eos_token_id", kNoEffect, "the text tower's counts"},
    {"sep_token_id", kNoEffect, kGeneration},
    {"decoder_start_token_id", kNoEffect, kGeneration},
    {"max_length", kNoEffect, kGeneration},
    {"min_length", kNoEffect, kGeneration},
    {"do_sample", kNoEffect, kGeneration},
    {"early_stopping", kNoEffect, kGeneration},
    {"num_beams", kNoEffect, kGeneration},
    {"num_beam_groups", kNoEffect, kGeneration},
    {"diversity_penalty", kNoEffect, kGeneration},
    {"temperature", kNoEffect, kGeneration},
    {"top_k", kNoEffect, kGeneration},
    {"top_p", kNoEffect, kGeneration},
    {"typical_p", kNoEffect, kGeneration},
    {"repetition_penalty", kNoEffect, kGeneration},
    {"length_penalty", kNoEffect, kGeneration},
    {"no_repeat_ngram_size", kNoEffect, kGeneration},
    {"encoder_no_repeat_ngram_size", kNoEffect, kGeneration},
    {"bad_words_ids", kNoEffect, kGeneration},
    {"num_return_sequences", kNoEffect, kGeneration},
    {"output_scores", kNoEffect, kGeneration},
    {"return_dict_in_generate", kNoEffect, kGeneration},
    {"forced_bos_token_id", kNoEffect, kGeneration},
    {"forced_eos_token_id", kNoEffect, kGeneration},
    {"remove_invalid_values", kNoEffect, kGeneration},
    {"exponential_decay_length_penalty", kNoEffect, kGeneration},
    {"suppress_tokens", kNoEffect, kGeneration},
    {"begin_suppress_tokens", kNoEffect, kGeneration},
};

// ---- preprocessors [transformers models/clip/image_processing_clip.py, models/siglip/image_processing_siglip.py,
// image_processing_backends.py] ----

constexpr ClipField kProcessorFields[] = {
    {"image_processor", kHonored, "wins over preprocessor_config.json, as in transformers 5"},
    {"processor_class", kNoEffect, "CLIP's and SigLIP's processors only hold the tokenizer and the image processor"},
    {"tokenizer", kNoEffect, "tokenizer_config.json says it"},
    {"chat_template", kNoEffect, kGeneration},
    {"auto_map", kOnly, "inputs are prepared by code of its own", "[]"},
};

// ---- tokenizers [transformers tokenization_utils_base.py, models/clip/tokenization_clip.py,
// models/siglip/tokenization_siglip.py] ----

constexpr std::string_view kDecoding = "only used to turn ids into text";

constexpr ClipField kTokenizerConfigFields[] = {
    {"tokenizer_class", kOnly, "another tokenizer",
     R"(["CLIPTokenizer", "CLIPTokenizerFast", "SiglipTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend"])"},
    {"added_tokens_decoder", kHonored, "tokens added to the vocabulary, and how they match"},
    {"additional_special_tokens", kHonored, "tokens added to the vocabulary"},
    {"extra_special_tokens", kHonored, "tokens added to the vocabulary"},
    {"bos_token", kHonored, "begins each text; for CLIP another than <|startoftext|> is refused"},
    {"eos_token", kHonored, "ends each text; another than <|endoftext|> (SigLIP: </s>) is refused"},
    {"unk_token", kHonored, "an unknown piece; another than <|endoftext|> (SigLIP: <unk>) is refused"},
    {"pad_token", kHonored, "cut out of a text as one token; SigLIP sees the padding: another than </s> is refused"},
    {"sep_token", kHonored, "cut out of a text as one token"},
    {"cls_token", kHonored, "cut out of a text as one token"},
    {"mask_token", kHonored, "cut out of a text as one token"},
    {"do_lower_case", kHonored, "CLIP's tokenizers always do; SigLIP without is refused"},
    {"add_prefix_space", kOnly, "a space before each text", "[false]"},
    {"add_bos_token", kOnly, "whether a text has a begin", "[true]"},
    {"add_eos_token", kOnly, "whether a text has an end", "[true]"},
    {"split_special_tokens", kOnly, "cuts special tokens into pieces", "[false]"},
    {"padding_side", kOnly, "padding before the text moves its positions", R"(["right"])"},
    {"truncation_side", kOnly, "which end of a long text is cut off", R"(["right"])"},
    {"sp_model_kwargs", kOnly, "another way through the pieces", "[{}]"},
    {"auto_map", kOnly, "texts are read by code of its own", "[]"},
    {"model_max_length", kNoEffect, "texts are cut to the model's own context"},
    {"max_length", kNoEffect, "texts are cut to the model's own context"},
    {"truncation", kNoEffect, "texts are cut to the model's own context"},
    {"truncation_strategy", kNoEffect, "texts are cut to the model's own context"},
    {"stride", kNoEffect, "only used to cut a text into several"},
    {"padding", kNoEffect, "each text is padded as the model needs it"},
    {"pad_to_multiple_of", kNoEffect, "each text is padded as the model needs it"},
    {"pad_token_type_id", kNoEffect, "there are no token types"},
    {"model_input_names", kNoEffect, kAnswer},
    {"return_tensors", kNoEffect, kAnswer},
    {"errors", kNoEffect, kDecoding},
    {"clean_up_tokenization_spaces", kNoEffect, kDecoding},
    {"chat_template", kNoEffect, kGeneration},
    {"processor_class", kNoEffect, "which class holds this one"},
    {"backend", kNoEffect, "which library does the same"},
    {"use_fast", kNoEffect, "which library does the same"},
    {"from_slow", kNoEffect, "which library does the same"},
    {"legacy", kNoEffect, "only read by Llama's and T5's"},
    {"name_or_path", kNoEffect, kSource},
    {"special_tokens_map_file", kNoEffect, kSource},
    {"tokenizer_file", kNoEffect, kSource},
    {"vocab_file", kNoEffect, kSource},
    {"merges_file", kNoEffect, kSource},
    {"is_local", kNoEffect, kSource},
    {"local_files_only", kNoEffect, kSource},
};

constexpr ClipField kSpecialTokensFields[] = {
    {"bos_token", kHonored, "as in tokenizer_config.json"},
    {"eos_token", kHonored, "as in tokenizer_config.json"},
    {"unk_token", kHonored, "as in tokenizer_config.json"},
    {"pad_token", kHonored, "as in tokenizer_config.json"},
    {"additional_special_tokens", kHonored, "as in tokenizer_config.json"},
    {"sep_token", kHonored, "cut out of a text as one token"},
    {"cls_token", kHonored, "cut out of a text as one token"},
    {"mask_token", kHonored, "cut out of a text as one token"},
};

constexpr ClipField kTokenizerFields[] = {
    {"model", kHonored, "vocabulary and merges, or pieces and scores"},
    {"added_tokens", kHonored, "tokens added to the vocabulary, and how they match"},
    {"normalizer", kHonored, "for CLIP another than NFC, one space, lower case is refused; SigLIP's table is read"},
    {"pre_tokenizer", kHonored, "for CLIP another than its own is refused"},
    {"post_processor", kHonored, "for CLIP another begin and end than the special tokens is refused"},
    {"decoder", kNoEffect, kDecoding},
    {"truncation", kNoEffect, "transformers sets it for each call"},
    {"padding", kNoEffect, "transformers sets it for each call"},
    {"version", kNoEffect, "1.0 in every file"},
};

constexpr ClipField kTokenizerModelFields[] = {
    {"type", kHonored, "BPE, or Unigram for SigLIP"},
    {"vocab", kHonored, "the tokens"},
    {"merges", kHonored, "the merges"},
    {"unk_id", kHonored, "the unknown piece"},
    {"byte_fallback", kHonored, "unknown characters as bytes; refused for CLIP"},
    {"end_of_word_suffix", kOnly, "how words end", R"(["</w>"])"},
    {"continuing_subword_prefix", kOnly, "how parts of words begin", R"([""])"},
    {"dropout", kOnly, "leaves out merges at random", "[0, 0.0]"},
    {"fuse_unk", kOnly, "unknown neighbours as one", "[false]"},
    {"ignore_merges", kOnly, "words of the vocabulary are not merged", "[false]"},
    {"unk_token", kNoEffect, "every byte is a token"},
};

const ClipField* FindField(std::string_view name, std::span<const ClipSection> sections) {
  for (const ClipSection section : sections) {
    for (const ClipFieldList& list : ClipFieldLists()) {
      if (list.section != section) continue;
      for (const ClipField& field : list.fields) {
        if (field.name == name) return &field;
      }
    }
  }
  return nullptr;
}

std::vector<ConfigNode> AllowedValues(const ClipField& field) {
  Result<Config> list = Config::ParseJson(field.allowed, field.name);
  return list.ok() ? std::move(list->root().list) : std::vector<ConfigNode>();
}

std::string ShortText(const ConfigNode& node) {
  constexpr size_t kMost = 80;
  std::string text = Config(node).ToJson(-1);
  if (text.size() > kMost) text = text.substr(0, kMost) + " …";
  return text;
}

std::string AllowedText(const ClipField& field) {
  std::string text;
  for (const ConfigNode& value : AllowedValues(field)) text += (text.empty() ? "" : ", ") + ShortText(value);
  return text.empty() ? "it unset" : text;
}

// The classes whose tensors the tables spell.
constexpr std::string_view kModelTypes[] = {"clip",   "clip_vision_model",   "clip_text_model",
                                            "siglip", "siglip_vision_model", "siglip_text_model"};
constexpr std::string_view kClasses[] = {"CLIPModel",
                                         "CLIPTextModel",
                                         "CLIPTextModelWithProjection",
                                         "CLIPVisionModel",
                                         "CLIPVisionModelWithProjection",
                                         "SiglipModel",
                                         "SiglipTextModel",
                                         "SiglipVisionModel"};

template <size_t N>
bool IsOneOf(const std::string_view (&words)[N], std::string_view word) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

std::string Cell(std::string_view text) {
  std::string cell;
  for (const char c : text) cell += c == '|' ? std::string("\\|") : std::string(1, c);
  return cell;
}

}  // namespace

std::span<const ClipFieldList> ClipFieldLists() {
  static const ClipFieldList kLists[] = {
      {ClipSection::kHuggingFace, "config.json", "", HuggingFaceFields()},
      {ClipSection::kHuggingFaceVision, "config.json", "vision_config", HuggingFaceVisionFields()},
      {ClipSection::kHuggingFaceText, "config.json", "text_config", HuggingFaceTextFields()},
      {ClipSection::kPretrained, "config.json", "anywhere", kPretrainedFields},
      {ClipSection::kOpenClipModel, "open_clip_config.json", "model_cfg", OpenClipModelFields()},
      {ClipSection::kOpenClipVision, "open_clip_config.json", "model_cfg.vision_cfg", OpenClipVisionFields()},
      {ClipSection::kOpenClipText, "open_clip_config.json", "model_cfg.text_cfg", OpenClipTextFields()},
      {ClipSection::kOpenClipPreprocess, "open_clip_config.json", "preprocess_cfg", OpenClipPreprocessFields()},
      {ClipSection::kPreprocessor, "preprocessor_config.json", "", PreprocessorFields()},
      {ClipSection::kProcessor, "processor_config.json", "", kProcessorFields},
      {ClipSection::kTokenizerConfig, "tokenizer_config.json", "", kTokenizerConfigFields},
      {ClipSection::kSpecialTokens, "special_tokens_map.json", "", kSpecialTokensFields},
      {ClipSection::kTokenizer, "tokenizer.json", "", kTokenizerFields},
      {ClipSection::kTokenizerModel, "tokenizer.json", "model", kTokenizerModelFields},
  };
  return kLists;
}

Status CheckClipFields(const ConfigNode& node, std::span<const ClipSection> sections, std::string_view where,
                       bool strict, std::vector<std::string>* notes) {
  for (const auto& [name, value] : node.map) {
    if (value.is_null()) continue;
    const ClipField* field = FindField(name, sections);
    if (field == nullptr) {
      if (name.starts_with("_")) continue;
      const std::string what =
          fmt::format("{}{}: expected a field that is known, found {}", where, name, ShortText(value));
      if (strict)
        return Unsupported(what, "docs/families/clip-fields.md lists fields")
            .Use("strict", "false", "go on without it");
      if (notes != nullptr) notes->push_back(what + ": left out of account");
      continue;
    }
    if (field->use != FieldUse::kOnly) continue;
    const std::vector<ConfigNode> allowed = AllowedValues(*field);
    if (std::any_of(allowed.begin(), allowed.end(), [&v = value](const ConfigNode& a) { return SameConfig(a, v); }))
      continue;
    return Unsupported(fmt::format("{}{}: expected {}, found {} ({})", where, name, AllowedText(*field),
                                   ShortText(value), field->why));
  }
  return {};
}

Status CheckClipConfigFields(const Config& config, bool strict, std::vector<std::string>* notes) {
  const ConfigNode& root = config.root();
  const auto check = [&](const ConfigNode* node, std::initializer_list<ClipSection> sections,
                         std::string_view where) -> Status {
    if (node == nullptr || !node->is_map()) return {};
    return CheckClipFields(*node, {sections.begin(), sections.size()}, where, strict, notes);
  };
  if (const ConfigNode* model = root.Get("model_cfg"); model != nullptr && model->is_map()) {
    ANEMONE_TRY(check(model, {ClipSection::kOpenClipModel}, "model_cfg."));
    ANEMONE_TRY(check(model->Get("vision_cfg"), {ClipSection::kOpenClipVision}, "model_cfg.vision_cfg."));
    ANEMONE_TRY(check(model->Get("text_cfg"), {ClipSection::kOpenClipText}, "model_cfg.text_cfg."));
    return check(root.Get("preprocess_cfg"), {ClipSection::kOpenClipPreprocess}, "preprocess_cfg.");
  }
  const ConfigNode* type = root.Get("model_type");
  const std::string word = type == nullptr ? "" : type->AsString().value_or("");
  constexpr ClipSection kTop = ClipSection::kHuggingFace, kAny = ClipSection::kPretrained,
                        kVision = ClipSection::kHuggingFaceVision, kText = ClipSection::kHuggingFaceText;
  if (word.ends_with("_vision_model")) return check(&root, {kTop, kVision, kAny}, "");
  if (word.ends_with("_text_model")) return check(&root, {kText, kTop, kAny}, "");
  if (word.empty() && root.Get("vision_config") == nullptr && root.Get("text_config") == nullptr) return {};
  // Nobody looks for more at the top, where people keep notes of their own.
  constexpr ClipSection kTopFields[] = {kTop, kAny};
  ANEMONE_TRY(CheckClipFields(root, kTopFields, "", false, notes));
  for (const std::string_view suffix : {"", "_dict"}) {
    const std::string vision = fmt::format("vision_config{}", suffix), text = fmt::format("text_config{}", suffix);
    ANEMONE_TRY(check(root.Get(vision), {kVision, kAny}, vision + "."));
    ANEMONE_TRY(check(root.Get(text), {kText, kAny}, text + "."));
  }
  return {};
}

std::string ForeignClipModel(const ConfigNode& root) {
  if (const ConfigNode* type = root.Get("model_type"); type != nullptr && !type->is_null()) {
    const std::string word = type->AsString().value_or("");
    if (!IsOneOf(kModelTypes, word)) return word.empty() ? "another model" : word;
  }
  const ConfigNode* classes = root.Get("architectures");
  if (classes == nullptr || !classes->is_list()) return {};
  for (const ConfigNode& name : classes->list) {
    const std::string word = name.AsString().value_or("");
    if (!IsOneOf(kClasses, word)) return word.empty() ? "another model" : word;
  }
  return {};
}

std::string DescribeClipFields() {
  std::string text;
  for (const ClipFieldList& list : ClipFieldLists()) {
    text += fmt::format("\n## {}{}\n\n| field | what is done | what it changes, or why it changes nothing |\n",
                        list.file, list.path.empty() ? "" : fmt::format(", {}", list.path));
    text += "| --- | --- | --- |\n";
    for (const ClipField& field : list.fields) {
      std::string what = "honored";
      if (field.use == FieldUse::kNoEffect) what = "no effect";
      if (field.use == FieldUse::kOnly) {
        const std::string allowed = AllowedText(field);
        what = allowed == "it unset" ? "refused where set" : fmt::format("refused unless `{}`", allowed);
      }
      text += fmt::format("| `{}` | {} | {} |\n", field.name, Cell(what), Cell(field.why));
    }
  }
  return text;
}

}  // namespace anemone
