// DescribeFamily: a family's tables as Markdown, for docs/families/*.md. A test holds the pages to it.
#ifndef ANEMONE_FAMILY_DESCRIBE_H_
#define ANEMONE_FAMILY_DESCRIBE_H_

#include <string>

#include "family/family.h"

namespace anemone {

// One table of canonical names, shapes and every dialect's spelling, and one of splits and stages per Megatron dialect.
std::string DescribeFamily(const Family& family);
// The same of docs/families/decoders.md: the classes of transformers, and how each calls what NeMo 1's config says.
std::string DescribeHfArchitectures();

}  // namespace anemone

#endif  // ANEMONE_FAMILY_DESCRIBE_H_
