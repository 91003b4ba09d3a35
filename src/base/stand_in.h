// What lies in place of a file that was not fetched: a pointer of git-lfs or git-annex, or a server's page.
#ifndef ANEMONE_BASE_STAND_IN_H_
#define ANEMONE_BASE_STAND_IN_H_

#include <string_view>

#include "anemone/status.h"

namespace anemone {

// Ok where the first bytes of a file are none of these. Errors: Corrupt, with what to do.
Status CheckNoStandIn(std::string_view head);

}  // namespace anemone

#endif  // ANEMONE_BASE_STAND_IN_H_
