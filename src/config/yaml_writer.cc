// ConfigNode to YAML as OmegaConf.save writes it: PyYAML's block style by libyaml's emitter, 80 columns, unicode as it
// is. libyaml chooses the quotes a text needs and folds it; which texts would read back as another type is ours to say.
#include <yaml.h>

#include <new>
#include <string>
#include <utility>

#include "anemone/config.h"
#include "base/utf8.h"
#include "config/scalar.h"

namespace anemone {
namespace {

using Kind = ConfigNode::Kind;

// NEL, LS and PS break lines in YAML 1.1 and not in 1.2: only escaped are they safe from every reader.
bool HasForeignBreak(std::string_view text) {
  for (const std::string_view line_break : {"\xC2\x85", "\xE2\x80\xA8", "\xE2\x80\xA9"}) {
    if (text.find(line_break) != std::string_view::npos) return true;
  }
  return false;
}

yaml_char_t* Characters(const char* text) { return reinterpret_cast<yaml_char_t*>(const_cast<char*>(text)); }

class Writer {
 public:
  Writer() {
    ready_ = yaml_emitter_initialize(&emitter_) != 0;
    yaml_emitter_set_output(&emitter_, Append, &out_);
    yaml_emitter_set_encoding(&emitter_, YAML_UTF8_ENCODING);
    yaml_emitter_set_unicode(&emitter_, 1);
    yaml_emitter_set_width(&emitter_, 80);
  }
  ~Writer() { yaml_emitter_delete(&emitter_); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  std::string Document(const ConfigNode& root) {
    yaml_event_t event;
    Emit(yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING), &event);
    Emit(yaml_document_start_event_initialize(&event, nullptr, nullptr, nullptr, 1), &event);
    Node(root);
    Emit(yaml_document_end_event_initialize(&event, 1), &event);
    Emit(yaml_stream_end_event_initialize(&event), &event);
    return std::move(out_);
  }

 private:
  yaml_emitter_t emitter_;
  bool ready_ = false;
  std::string out_;

  static int Append(void* out, unsigned char* bytes, size_t size) {
    static_cast<std::string*>(out)->append(reinterpret_cast<const char*>(bytes), size);
    return 1;
  }

  // Only memory can run out: texts are UTF-8 here. A part of a config must not pass for all of it.
  void Emit(int initialized, yaml_event_t* event) {
    if (!ready_ || initialized == 0 || yaml_emitter_emit(&emitter_, event) == 0) throw std::bad_alloc();
  }

  void Scalar(std::string_view text, bool plain, yaml_scalar_style_t style) {
    yaml_event_t event;
    Emit(yaml_scalar_event_initialize(&event, nullptr, nullptr, Characters(text.data()), static_cast<int>(text.size()),
                                      plain ? 1 : 0, 1, style),
         &event);
  }

  void String(std::string_view text) {
    std::string repaired;
    if (!internal::ValidUtf8(text)) {
      for (size_t i = 0, length = 0; i < text.size(); i += length) {
        AppendUtf8(internal::DecodeUtf8(text, i, &length), repaired);
      }
      text = repaired;
    }
    Scalar(text, internal::StringMayBePlain(text),
           HasForeignBreak(text) ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_ANY_SCALAR_STYLE);
  }

  void Key(const std::string& key, Kind kind) {
    if (kind != Kind::kString && kind != Kind::kNull) {
      const Result<ConfigNode> typed = internal::TypePlainScalar(key);
      if (typed.ok() && typed->kind == kind) return Scalar(key, true, YAML_PLAIN_SCALAR_STYLE);
    }
    String(key);
  }

  void Node(const ConfigNode& node) {
    yaml_event_t event;
    switch (node.kind) {
      case Kind::kMap:
        Emit(yaml_mapping_start_event_initialize(&event, nullptr, nullptr, 1,
                                                 node.map.empty() ? YAML_FLOW_MAPPING_STYLE : YAML_BLOCK_MAPPING_STYLE),
             &event);
        for (const auto& [key, value] : node.map) {
          Key(key, value.key_kind);
          Node(value);
        }
        return Emit(yaml_mapping_end_event_initialize(&event), &event);
      case Kind::kList:
        Emit(yaml_sequence_start_event_initialize(
                 &event, nullptr, nullptr, 1, node.list.empty() ? YAML_FLOW_SEQUENCE_STYLE : YAML_BLOCK_SEQUENCE_STYLE),
             &event);
        for (const ConfigNode& value : node.list) Node(value);
        return Emit(yaml_sequence_end_event_initialize(&event), &event);
      case Kind::kString:
        return String(node.text);
      default:
        return Scalar(internal::YamlScalar(node), true, YAML_PLAIN_SCALAR_STYLE);
    }
  }
};

}  // namespace

std::string Config::ToYaml() const { return Writer().Document(root_); }

}  // namespace anemone
