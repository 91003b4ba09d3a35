// The words for options of few values, as the command line, C and Python spell them.
#ifndef ANEMONE_CONVERT_OPTION_WORDS_H_
#define ANEMONE_CONVERT_OPTION_WORDS_H_

#include <string_view>
#include <utility>

#include "anemone/convert.h"

namespace anemone {

inline constexpr std::pair<std::string_view, ExtraState> kExtraStateWords[] = {
    {"keep", ExtraState::kKeep}, {"drop", ExtraState::kDrop}, {"require", ExtraState::kRequire}};
inline constexpr std::pair<std::string_view, Reflink> kReflinkWords[] = {
    {"auto", Reflink::kAuto}, {"always", Reflink::kAlways}, {"never", Reflink::kNever}};

}  // namespace anemone

#endif  // ANEMONE_CONVERT_OPTION_WORDS_H_
