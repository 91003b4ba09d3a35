#include "check/scan_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <iterator>
#include <optional>

#include "check/scan_rules.h"

namespace anemone {
namespace {

constexpr std::string_view kCode = "code beside the model", kTarget = "config target";

// Files of Hugging Face folders, NeMo 2 contexts, sentence-transformers, diffusers and Keras that hold names of code.
constexpr std::string_view kNames[] = {"/adapter_config.json",    "/config.json",
                                       "/generation_config.json", "/io.json",
                                       "/model_index.json",       "/modular_model_index.json",
                                       "/modules.json",           "/preprocessor_config.json",
                                       "/processor_config.json",  "/router_config.json",
                                       "/tokenizer_config.json",  "/video_preprocessor_config.json"};

// An exported program of torch [torch/export/pt2_archive/constants.py; before 2.7 torch/export/__init__.py].
bool IsExportedProgram(std::string_view path) {
  return (path.find("/models/") != path.npos && path.ends_with(".json")) ||
         path.ends_with("/serialized_exported_program.json");
}

bool IsText(const ConfigNode* node) { return node != nullptr && node->AsString().has_value(); }

bool IsIdentifier(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
}

// An expression as SymPy writes it: calls of its classes, symbols, numbers, operators. torch evaluates it as Python
// [torch/_export/serde/serialize.py, _parse_sym_expr; sympy.sympify].
bool IsPlainExpression(std::string_view text) {
  if (text.find("__") != text.npos || text.find(")(") != text.npos) return false;
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == '\'' || c == '"') {
      const size_t end = text.find(text[i], i + 1);
      if (end == text.npos || !IsIdentifier(text.substr(i + 1, end - i - 1))) return false;
      if (!text.substr(0, i).ends_with("Symbol(")) return false;  // others evaluate it once more
      i = end + 1;
    } else if (std::isalpha(c) != 0 || c == '_') {
      size_t end = i;
      while (end < text.size() && IsIdentifier(text.substr(end, 1))) ++end;
      const size_t next = text.find_first_not_of(' ', end);
      const bool is_call = next != text.npos && text[next] == '(';
      if ((is_call && std::isupper(c) == 0) || text.substr(end).starts_with('.')) return false;
      i = end;
    } else if (std::isdigit(c) != 0 || std::string_view(" ,()=+-*/<>!%.").find(text[i]) != std::string_view::npos) {
      ++i;
    } else {
      return false;
    }
  }
  return true;
}

class Finder {
 public:
  Finder(std::string_view path, const AddCode& add)
      : is_exported_(IsExportedProgram(path)),
        is_index_(path.ends_with("model_index.json")),
        is_modules_(path.ends_with("/modules.json") || path.ends_with("/router_config.json")),
        add_(add) {}

  void Visit(const ConfigNode& node, const std::string& where) {
    if (!node.map.empty()) VisitMap(node, where);
    for (const auto& [key, child] : node.map) {
      const std::string below = where.empty() ? key : fmt::format("{}.{}", where, key);
      VisitEntry(key, child, below);
      Visit(child, below);
    }
    for (size_t i = 0; i < node.list.size(); ++i) Visit(node.list[i], fmt::format("{}[{}]", where, i));
  }

 private:
  void VisitMap(const ConfigNode& node, const std::string& where) {
    const ConfigNode *type = node.Get("type"), *module = node.Get("module"), *name = node.Get("name");
    // {"type": "pyref", "module": …, "name": …} [fiddle/_src/experimental/serialization.py].
    if (IsText(type) && type->AsString() == "pyref" && module != nullptr && name != nullptr)
      Global(module->ScalarText(), name->ScalarText(), where);
    // {"module": …, "class_name": …} [keras/src/saving/serialization_lib.py].
    const ConfigNode* class_name = node.Get("class_name");
    if (!IsText(class_name)) return;
    const std::string text = class_name->ScalarText();
    if (text == "Lambda" || text == "__lambda__") add_(kCode, text, where, Danger::kUnknown);
    const std::string of = IsText(module) ? module->ScalarText() : "keras";
    if (of != "keras" && !of.starts_with("keras.")) Global(of, text, where);
  }
  void Global(const std::string& module, const std::string& name, const std::string& where) {
    add_(kTarget, fmt::format("{}.{}", module, name), where, JudgeGlobal(module + " " + name));
  }

  void VisitEntry(const std::string& key, const ConfigNode& value, const std::string& where) {
    if (key == "auto_map") {
      for (const auto& [name, code] : value.map)
        add_(kCode, code.ScalarText(), fmt::format("{}.{}", where, name), Danger::kUnknown);
      for (const ConfigNode& code : value.list) add_(kCode, code.ScalarText(), where, Danger::kUnknown);
    } else if (key == "trust_remote_code" && value.AsBool() == true) {
      add_(kCode, key, where, Danger::kUnknown);
    } else if (key == "parent_library" && where.ends_with("auto_mapping.parent_library")) {
      // PEFT imports it and calls from_pretrained of a class in it [peft/auto.py].
      Library(value.ScalarText(), where);
    } else if (key == "expr_str" && is_exported_ && !IsPlainExpression(value.ScalarText())) {
      add_(kCode, value.ScalarText(), where, Danger::kDangerous);
    } else if (is_index_) {
      VisitComponent(key, value, where);
    }
    if (IsText(&value)) VisitText(key, value.ScalarText(), where);
  }

  void VisitText(std::string_view key, const std::string& text, const std::string& where) {
    // Owner and name of a kernel on the hub, which transformers downloads and calls [integrations/hub_kernels.py].
    if (key.ends_with("attn_implementation") || key.ends_with("experts_implementation")) {
      if (text.find('/') != text.npos) add_(kCode, text, where, Danger::kUnknown);
      return;
    }
    const bool is_path = text.find('.') != text.npos && !text.starts_with("sentence_transformers.");
    if (key == "_target_" || (IsReference(key) && is_path)) add_(kTarget, text, where, JudgeTarget(text));
  }
  // Paths of classes that sentence-transformers imports and calls [its base/modules, cross_encoder and util/misc.py].
  bool IsReference(std::string_view key) const {
    constexpr std::string_view kKeys[] = {"activation_function", "activation_fn",
                                          "sbert_ce_default_activation_function", "tokenizer_class"};
    return std::ranges::find(kKeys, key) != std::end(kKeys) || (is_modules_ && key != "path" && key != "name");
  }

  // [library, class] of a part of a pipeline [diffusers/pipelines/pipeline_loading_utils.py].
  void VisitComponent(const std::string& key, const ConfigNode& value, const std::string& where) {
    if (value.list.size() < 2 || !IsText(&value.list[0]) || !IsText(&value.list[1])) return;
    const std::string library = value.list[0].ScalarText(), name = value.list[1].ScalarText();
    if (key == "_class_name") return add_(kCode, fmt::format("{}.{}", library, name), where, Danger::kUnknown);
    if (library.find('.') != library.npos) return Library(library, where);
    // One without a dot is a pipeline of diffusers' (stable_diffusion), or a module.
    const Danger danger = JudgeTarget(fmt::format("{}.{}", library, name));
    if (danger == Danger::kDangerous) add_(kTarget, fmt::format("{}.{}", library, name), where, danger);
  }
  void Library(const std::string& name, const std::string& where) {
    for (const std::string_view known : {"transformers", "diffusers"}) {
      if (name == known || name.starts_with(std::string(known) + ".")) return;
    }
    add_(kCode, name, where, Danger::kUnknown);
  }

  const bool is_exported_, is_index_, is_modules_;
  const AddCode& add_;
};

}  // namespace

bool IsJudgedJson(std::string_view path) {
  const std::string whole = "/" + std::string(path);
  return IsExportedProgram(whole) ||
         std::ranges::any_of(kNames, [&](std::string_view name) { return whole.ends_with(name); });
}

void FindCodeInJson(std::string_view path, const ConfigNode& root, const AddCode& add) {
  Finder("/" + std::string(path), add).Visit(root, "");
}

}  // namespace anemone
