// The families of this folder, one function a file. For family.cc's list; others use family.h.
#ifndef ANEMONE_FAMILY_FAMILIES_H_
#define ANEMONE_FAMILY_FAMILIES_H_

#include "family/family.h"

namespace anemone {

const Family& ClipFamily();    // clip.cc
const Family& SiglipFamily();  // clip.cc

}  // namespace anemone

#endif  // ANEMONE_FAMILY_FAMILIES_H_
