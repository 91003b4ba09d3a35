#include "clip/imagenet.h"

#include <cstddef>

// The assembler copies the files; no generated source, no run-time path.
asm(R"(
    .section .rodata
    .global anemone_imagenet_names
    .global anemone_imagenet_names_end
anemone_imagenet_names:
    .incbin ")" ANEMONE_IMAGENET
    "/classnames.txt"
    R"("
anemone_imagenet_names_end:
    .global anemone_imagenet_templates
    .global anemone_imagenet_templates_end
anemone_imagenet_templates:
    .incbin ")" ANEMONE_IMAGENET
    "/templates.txt"
    R"("
anemone_imagenet_templates_end:
    .previous
)");

extern "C" {
extern const char anemone_imagenet_names[];
extern const char anemone_imagenet_names_end[];
extern const char anemone_imagenet_templates[];
extern const char anemone_imagenet_templates_end[];
}

namespace anemone {

std::string_view ImagenetClassNames() {
  return {anemone_imagenet_names, static_cast<size_t>(anemone_imagenet_names_end - anemone_imagenet_names)};
}

std::string_view ImagenetTemplates() {
  return {anemone_imagenet_templates, static_cast<size_t>(anemone_imagenet_templates_end - anemone_imagenet_templates)};
}

}  // namespace anemone
