// EditInPlace: members of a .nemo written where it lies, whatever the rest of it weighs.
//
// A packed archive gets them behind the others, where unpacking lets the last of a name win [TAR-7]. The room of the
// end marker is used, and as much is left behind. They appear all at once, when the block of the first one's header
// takes the end marker's place: before that, and after a crash, the archive is the old one. In an unpacked archive
// files are replaced one by one, in the order given.
#ifndef ANEMONE_OPS_IN_PLACE_H_
#define ANEMONE_OPS_IN_PLACE_H_

#include <string>
#include <utility>
#include <vector>

#include "anemone/status.h"

namespace anemone {

using NewMembers = std::vector<std::pair<std::string, std::string>>;  // names, and what they hold

// Whether EditInPlace should do it: the archive is a folder, or a plain tar without other names (hard links) that has
// room for `members` and little in it that is replaced already.
bool CanEditInPlace(const std::string& archive, const NewMembers& members);

// REQUIRES: CanEditInPlace. Errors: CannotCreate (another run edits it, it is read-only), Io; a packed archive is then
// as it was.
Status EditInPlace(const std::string& archive, const NewMembers& members);

}  // namespace anemone

#endif  // ANEMONE_OPS_IN_PLACE_H_
