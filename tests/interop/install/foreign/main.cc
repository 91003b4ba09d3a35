// What a user of the installed library writes: only public headers.
#include <anemone/convert.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 3) return 64;
  const auto conversion = anemone::PlanConversion(argv[1], argv[2], {});
  if (!conversion.ok()) {
    std::fprintf(stderr, "%s\n", conversion.status().message().c_str());
    return 65;
  }
  const anemone::Status status = anemone::RunConversion(*conversion, {.force = true});
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.message().c_str());
  std::printf("%zu tensors\n", conversion->result.weights().size());
  return status.ok() ? 0 : 74;
}
