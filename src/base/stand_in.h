// Files that were not fetched: a pointer of git-lfs or git-annex, or a server's page, lies in their place.
#ifndef ANEMONE_BASE_STAND_IN_H_
#define ANEMONE_BASE_STAND_IN_H_

#include <string_view>

#include "anemone/status.h"

namespace anemone {

// White space and the bytes of a byte order mark, behind which a text may begin.
inline constexpr std::string_view kTextBlanks = " \t\r\n\xef\xbb\xbf";
inline constexpr std::string_view kCutShort = "the download or the save did not finish";  // a hint

// Ok where the first bytes of a file are none of these. Errors: Corrupt, with what to do.
Status CheckNoStandIn(std::string_view head);

}  // namespace anemone

#endif  // ANEMONE_BASE_STAND_IN_H_
