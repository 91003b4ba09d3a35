// Removing a folder of whose files some may be open. Network file systems and FUSE keep such a file under another name
// until it is closed, and the folder with it.
#ifndef ANEMONE_BASE_REMOVAL_H_
#define ANEMONE_BASE_REMOVAL_H_

#include <forward_list>
#include <string>

namespace anemone {

// Lives as long as a file that is open for reading.
class OpenMark {
 public:
  OpenMark();
  ~OpenMark();  // the last one removes what is left to remove
  OpenMark(const OpenMark&) = delete;
  OpenMark& operator=(const OpenMark&) = delete;
};

// Removes `folder`, the path of one, with all it holds: now, or else once no OpenMark lives. Takes no memory. Threads:
// safe.
void RemoveOnceClosed(std::forward_list<std::string>& folder);
// True while a folder of that name is still to be removed.
bool IsToBeRemoved(const std::string& name);

}  // namespace anemone

#endif  // ANEMONE_BASE_REMOVAL_H_
