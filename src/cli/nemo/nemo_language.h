// NeMo's converters of language models: one table of commands [NVIDIA/NeMo v2.0.0 scripts/checkpoint_converters], and
// NeMo 2's `llm import` and `llm export` [nemo/collections/llm/api.py].
#ifndef ANEMONE_CLI_NEMO_NEMO_LANGUAGE_H_
#define ANEMONE_CLI_NEMO_NEMO_LANGUAGE_H_

#include <CLI/App.hpp>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace anemone::cli {

struct LanguageScript {
  enum class To : uint8_t { kNemo, kTorch, kFolder };
  std::string_view name;
  std::string_view model;  // "Llama"
  To to = To::kNemo;
  std::string_view dtype = {};   // NeMo's script casts to it by default; empty: it casts to none, or to the model's own
  std::string_view flags = {};   // beside the source, the destination and --precision: names in nemo_language.cc
  std::string_view member = {};  // the file in --output_path, which is a folder
  std::string_view dialect = {};
  bool has_precision = true;
  std::string_view source = "--input_name_or_path", destination = "--output_path";
  bool lacks_tower = false;  // the .nemo does, which a Hugging Face model given beside it has
};
std::span<const LanguageScript> LanguageScripts();
std::string SummaryOf(const LanguageScript& script);

// REQUIRES: `script` is one of the table's.
std::function<int()> DeclareLanguageScript(CLI::App& app, const LanguageScript& script);

std::function<int()> DeclareLlmImport(CLI::App& app);
std::function<int()> DeclareLlmExport(CLI::App& app);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_NEMO_NEMO_LANGUAGE_H_
