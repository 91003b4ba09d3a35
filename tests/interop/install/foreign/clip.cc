// What a user of anemone::clip writes.
#include <anemone/clip.h>

#include <cmath>
#include <cstdio>

int main() {
  const anemone::ClipFeatures features{.count = 2, .width = 2, .values = {1, 0, 0, 1}};
  const auto probabilities = anemone::ClipProbabilities(features, features, std::log(3));
  if (!probabilities.ok() || probabilities->size() != 4) return 65;
  std::printf("%s\n", anemone::ClipHasBf16() ? "bf16" : "fp32");
  return std::fabs((*probabilities)[0] - 0.75F) < 1e-6F ? 0 : 65;
}
