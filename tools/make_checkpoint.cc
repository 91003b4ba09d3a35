// Writes a Hugging Face CLIP of a well-known size with random weights, for benchmarks and for tests at true size: the
// same bytes on every machine. `--sparse` leaves the weights a hole in the file, so that a laptop can hold any size.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

struct Tower {
  uint64_t layers, width, ffn, heads;
};

struct Model {
  std::string_view name;
  uint64_t projection;
  Tower vision;
  uint64_t patch, image;
  Tower text;
  std::string_view activation;
};

// OpenAI's and LAION's published configurations (transformers' config.json, open_clip's model_configs).
constexpr Model kModels[] = {
    {"ViT-B-32", 512, {12, 768, 3072, 12}, 32, 224, {12, 512, 2048, 8}, "quick_gelu"},
    {"ViT-B-16", 512, {12, 768, 3072, 12}, 16, 224, {12, 512, 2048, 8}, "quick_gelu"},
    {"ViT-L-14", 768, {24, 1024, 4096, 16}, 14, 224, {12, 768, 3072, 12}, "quick_gelu"},
    {"ViT-L-14-336", 768, {24, 1024, 4096, 16}, 14, 336, {12, 768, 3072, 12}, "quick_gelu"},
    {"ViT-H-14", 1024, {32, 1280, 5120, 16}, 14, 224, {24, 1024, 4096, 16}, "gelu"},
    {"ViT-g-14", 1024, {40, 1408, 6144, 16}, 14, 224, {24, 1024, 4096, 16}, "gelu"},
    {"ViT-bigG-14", 1280, {48, 1664, 8192, 16}, 14, 224, {32, 1280, 5120, 20}, "gelu"},
    // Its text tower's 20 heads do not divide among 8 tensor ranks; these do.
    {"ViT-bigG-14-text16", 1280, {48, 1664, 8192, 16}, 14, 224, {32, 1280, 5120, 16}, "gelu"},
};
constexpr uint64_t kVocabulary = 49408;
constexpr uint64_t kPositions = 77;

// A parameter and the uniform distribution its elements are drawn from.
struct Parameter {
  std::string name;
  std::vector<uint64_t> shape;
  float center, spread;

  uint64_t Elements() const {
    uint64_t n = 1;
    for (uint64_t d : shape) n *= d;
    return n;
  }
};

class ParameterList {
 public:
  void Vector(const std::string& name, uint64_t size, float center, float spread) {
    list_.push_back({name, {size}, center, spread});
  }
  void Matrix(const std::string& name, std::vector<uint64_t> shape) {
    uint64_t fan_in = 1;
    for (size_t i = 1; i < shape.size(); ++i) fan_in *= shape[i];
    list_.push_back({name, std::move(shape), 0, std::sqrt(1.5f / static_cast<float>(fan_in))});
  }
  void Table(const std::string& name, uint64_t rows, uint64_t width, float spread) {
    list_.push_back({name, {rows, width}, 0, spread});
  }
  void Linear(const std::string& name, uint64_t out, uint64_t in) {
    Matrix(name + ".weight", {out, in});
    Vector(name + ".bias", out, 0, 0.05f);
  }
  void Norm(const std::string& name, uint64_t width) {
    Vector(name + ".weight", width, 1, 0.2f);
    Vector(name + ".bias", width, 0, 0.05f);
  }
  void Encoder(const std::string& prefix, const Tower& tower) {
    for (uint64_t i = 0; i < tower.layers; ++i) {
      const std::string layer = prefix + ".encoder.layers." + std::to_string(i) + ".";
      Norm(layer + "layer_norm1", tower.width);
      Norm(layer + "layer_norm2", tower.width);
      Linear(layer + "mlp.fc1", tower.ffn, tower.width);
      Linear(layer + "mlp.fc2", tower.width, tower.ffn);
      for (const char* name : {"k_proj", "out_proj", "q_proj", "v_proj"})
        Linear(layer + "self_attn." + name, tower.width, tower.width);
    }
  }
  void Scalar(const std::string& name, float value) { list_.push_back({name, {}, value, 0}); }
  // In the order the safetensors library writes: by name, when all are of one dtype.
  std::vector<Parameter> Sorted() && {
    std::sort(list_.begin(), list_.end(), [](const Parameter& a, const Parameter& b) { return a.name < b.name; });
    return std::move(list_);
  }

 private:
  std::vector<Parameter> list_;
};

std::vector<Parameter> Parameters(const Model& m) {
  ParameterList list;
  list.Scalar("logit_scale", 4.6052f);
  list.Table("text_model.embeddings.token_embedding.weight", kVocabulary, m.text.width, 0.4f);
  list.Table("text_model.embeddings.position_embedding.weight", kPositions, m.text.width, 0.1f);
  list.Encoder("text_model", m.text);
  list.Norm("text_model.final_layer_norm", m.text.width);
  list.Matrix("text_projection.weight", {m.projection, m.text.width});
  const uint64_t grid = m.image / m.patch;
  list.Vector("vision_model.embeddings.class_embedding", m.vision.width, 0, 0.4f);
  list.Matrix("vision_model.embeddings.patch_embedding.weight", {m.vision.width, 3, m.patch, m.patch});
  list.Table("vision_model.embeddings.position_embedding.weight", grid * grid + 1, m.vision.width, 0.1f);
  list.Norm("vision_model.pre_layrnorm", m.vision.width);
  list.Encoder("vision_model", m.vision);
  list.Norm("vision_model.post_layernorm", m.vision.width);
  list.Matrix("visual_projection.weight", {m.projection, m.vision.width});
  return std::move(list).Sorted();
}

uint64_t Mix(uint64_t x) {  // splitmix64
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

uint64_t SeedOf(std::string_view name, uint64_t seed) {  // FNV-1a
  uint64_t hash = 0xCBF29CE484222325u ^ Mix(seed);
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

// Elements [begin, begin + out.size()) of a parameter; `begin` is even. Two elements of 24 random bits per hash: every
// product below is exact or rounded once, so all machines agree.
void Fill(const Parameter& p, uint64_t seed, uint64_t begin, std::span<float> out) {
  const float step = p.spread * 0x1p-23f;
  for (size_t i = 0; i < out.size(); ++i) {
    const uint64_t bits = Mix(seed + (begin + i) / 2) >> ((begin + i) % 2 * 32);
    const auto centered = static_cast<int32_t>(bits & 0xFFFFFF) - 0x800000;
    const float offset = static_cast<float>(centered) * step;
    out[i] = p.center + offset;
  }
}

uint16_t ToBfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

std::string Header(const std::vector<Parameter>& parameters, bool bf16, uint64_t* data_size) {
  std::string json = R"({"__metadata__":{"format":"pt"})";
  uint64_t at = 0;
  for (const Parameter& p : parameters) {
    const uint64_t size = p.Elements() * (bf16 ? 2 : 4);
    json += ",\"" + p.name + "\":{\"dtype\":\"" + (bf16 ? "BF16" : "F32") + "\",\"shape\":[";
    for (size_t i = 0; i < p.shape.size(); ++i) json += (i ? "," : "") + std::to_string(p.shape[i]);
    json += "],\"data_offsets\":[" + std::to_string(at) + "," + std::to_string(at + size) + "]}";
    at += size;
  }
  json += "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');
  *data_size = at;
  const uint64_t size = json.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + json;
}

bool WriteAll(int fd, const void* data, size_t size) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = write(fd, at, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

bool WriteWeights(int fd, const std::vector<Parameter>& parameters, bool bf16, uint64_t seed) {
  std::vector<float> window(1 << 18);
  std::vector<uint16_t> narrow(bf16 ? window.size() : 0);
  for (const Parameter& p : parameters) {
    const uint64_t elements = p.Elements();
    for (uint64_t begin = 0; begin < elements; begin += window.size()) {
      const size_t n = std::min<uint64_t>(window.size(), elements - begin);
      Fill(p, SeedOf(p.name, seed), begin, std::span(window.data(), n));
      if (bf16) std::transform(window.begin(), window.begin() + static_cast<ptrdiff_t>(n), narrow.begin(), ToBfloat16);
      const void* data = bf16 ? static_cast<const void*>(narrow.data()) : window.data();
      if (!WriteAll(fd, data, n * (bf16 ? 2 : 4))) return false;
    }
  }
  return true;
}

std::string TowerJson(const Tower& t, const Model& m) {
  return "\"hidden_act\": \"" + std::string(m.activation) + "\", \"hidden_size\": " + std::to_string(t.width) +
         ", \"intermediate_size\": " + std::to_string(t.ffn) +
         ", \"layer_norm_eps\": 1e-05, \"num_attention_heads\": " + std::to_string(t.heads) +
         ", \"num_hidden_layers\": " + std::to_string(t.layers) +
         ", \"projection_dim\": " + std::to_string(m.projection);
}

std::string ConfigJson(const Model& m, bool bf16) {
  return "{\n  \"architectures\": [\"CLIPModel\"],\n  \"logit_scale_init_value\": 2.6592,\n  \"model_type\": "
         "\"clip\",\n"
         "  \"projection_dim\": " +
         std::to_string(m.projection) + ",\n  \"text_config\": {" + TowerJson(m.text, m) +
         ", \"bos_token_id\": 49406, \"eos_token_id\": 49407, \"max_position_embeddings\": 77, \"model_type\": "
         "\"clip_text_model\", "
         "\"vocab_size\": 49408},\n  \"torch_dtype\": \"" +
         (bf16 ? "bfloat16" : "float32") + "\",\n  \"vision_config\": {" + TowerJson(m.vision, m) +
         ", \"image_size\": " + std::to_string(m.image) +
         ", \"model_type\": \"clip_vision_model\", \"patch_size\": " + std::to_string(m.patch) + "}\n}\n";
}

std::string PreprocessorJson(const Model& m) {
  const std::string size = std::to_string(m.image);
  return "{\"crop_size\": {\"height\": " + size + ", \"width\": " + size +
         "}, \"do_center_crop\": true, \"do_convert_rgb\": true, "
         "\"do_normalize\": true, \"do_rescale\": true, \"do_resize\": true, \"image_mean\": [0.48145466, 0.4578275, "
         "0.40821073], "
         "\"image_processor_type\": \"CLIPImageProcessor\", \"image_std\": [0.26862954, 0.26130258, 0.27577711], "
         "\"resample\": 3, "
         "\"rescale_factor\": 0.00392156862745098, \"size\": {\"shortest_edge\": " +
         size + "}}\n";
}

int Usage() {
  std::fputs(
      "usage: make_checkpoint MODEL DIR [--bf16] [--sparse] [--seed N] [--tokenizer DIR]\n"
      "  --tokenizer DIR  copies the tokenizer's files from DIR\n  MODEL is one of:",
      stderr);
  for (const Model& m : kModels) std::fprintf(stderr, " %.*s", static_cast<int>(m.name.size()), m.name.data());
  std::fputs("\n", stderr);
  return 64;
}

int Fail(const std::string& what) {
  std::fprintf(stderr, "make_checkpoint: %s: %s\n", what.c_str(), std::strerror(errno));
  return 74;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> words;
  std::string tokenizer;
  bool bf16 = false, sparse = false;
  uint64_t seed = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--bf16") {
      bf16 = true;
    } else if (arg == "--sparse") {
      sparse = true;
    } else if (arg == "--seed" && i + 1 < argc) {
      seed = std::strtoull(argv[++i], nullptr, 10);
    } else if (arg == "--tokenizer" && i + 1 < argc) {
      tokenizer = argv[++i];
    } else {
      words.push_back(arg);
    }
  }
  if (words.size() != 2) return Usage();
  const Model* model =
      std::find_if(std::begin(kModels), std::end(kModels), [&](const Model& m) { return m.name == words[0]; });
  if (model == std::end(kModels)) return Usage();

  namespace fs = std::filesystem;
  const fs::path dir = words[1];
  std::error_code error;
  fs::create_directories(dir, error);
  for (const char* name : {"vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"}) {
    if (tokenizer.empty()) break;
    fs::copy_file(fs::path(tokenizer) / name, dir / name, fs::copy_options::overwrite_existing, error);
    if (error) return errno = error.value(), Fail(tokenizer + "/" + name);
  }
  std::ofstream(dir / "config.json") << ConfigJson(*model, bf16);
  std::ofstream(dir / "preprocessor_config.json") << PreprocessorJson(*model);

  const std::string path = dir / "model.safetensors";
  const std::vector<Parameter> parameters = Parameters(*model);
  uint64_t data_size = 0;
  const std::string header = Header(parameters, bf16, &data_size);
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return Fail(path);
  const bool written = WriteAll(fd, header.data(), header.size()) &&
                       (sparse ? ftruncate(fd, static_cast<off_t>(header.size() + data_size)) == 0
                               : WriteWeights(fd, parameters, bf16, seed));
  if (!written || close(fd) != 0) return Fail(path);
  return 0;
}
