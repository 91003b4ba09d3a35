// EditInPlace: members of a packed .nemo written where it lies, whatever the rest of it weighs.
//
// They come behind the others, where unpacking lets the last of a name win [TAR-7]. The room of the end marker is used,
// and as much is left behind. They appear all at once, when the block of the first one's header takes the end marker's
// place: before that, and after a crash, the archive is the old one.
#ifndef ANEMONE_EDIT_IN_PLACE_H_
#define ANEMONE_EDIT_IN_PLACE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "anemone/status.h"

namespace anemone {

using NewMembers = std::vector<std::pair<std::string, std::string>>;  // names, and what they hold

// Which file an archive is, where its next member begins, and how many bytes of it are of members that a later one
// replaces: another after every change.
struct Place {
  uint64_t inode = 0;
  uint64_t end = 0;
  uint64_t replaced = 0;
  bool operator==(const Place&) const = default;
};
// nullopt for what is no plain tar. Errors: of reading it.
Result<std::optional<Place>> PlaceOf(const std::string& archive);

// Whether EditInPlace should do it: the archive, at `place`, is a plain tar without other names (hard links) that has
// room for `members` and little in it that is replaced already. Errors: Io.
Result<bool> CanEditInPlace(const std::string& archive, const NewMembers& members, const Place& place);

// Writes what was made of the archive as it was at `place`. REQUIRES: CanEditInPlace. Errors: CannotCreate (another run
// edits it or has edited it, it is read-only), Io; the archive is then as it was.
Status EditInPlace(const std::string& archive, const NewMembers& members, const Place& place);

}  // namespace anemone

#endif  // ANEMONE_EDIT_IN_PLACE_H_
