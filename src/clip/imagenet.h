// ImageNet's names and prompts as OpenAI published them and NeMo evaluates with them, built in. MIT licence, © 2021
// OpenAI (models/imagenet/NOTICE).
#ifndef ANEMONE_CLIP_IMAGENET_H_
#define ANEMONE_CLIP_IMAGENET_H_

#include <string_view>

namespace anemone {

// 1,000 names, one a line, in the order of the data set's folders (n01440764, …).
std::string_view ImagenetClassNames();
// 80 templates, one a line, {} being the name.
std::string_view ImagenetTemplates();

}  // namespace anemone

#endif  // ANEMONE_CLIP_IMAGENET_H_
