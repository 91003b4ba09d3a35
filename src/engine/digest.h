// Digest: whether two plans are the same, told by a few characters.
#ifndef ANEMONE_ENGINE_DIGEST_H_
#define ANEMONE_ENGINE_DIGEST_H_

#include <string>
#include <vector>

#include "anemone/bytes.h"
#include "engine/plan.h"

namespace anemone {

// SHA-256, in hexadecimal, of all that decides what a plan writes: paths, sizes, literal bytes, and for tensors and
// ranges the names of their sources and where in them their bytes lie. Not of what files hold: `files`, if wanted,
// becomes those sources.
std::string Digest(const Plan& plan, std::vector<ByteSourcePtr>* files = nullptr);

}  // namespace anemone

#endif  // ANEMONE_ENGINE_DIGEST_H_
