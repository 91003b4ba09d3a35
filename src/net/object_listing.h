// One page of an object store's listing: ListObjectsV2, which S3 and Google's XML API both answer.
#ifndef ANEMONE_NET_OBJECT_LISTING_H_
#define ANEMONE_NET_OBJECT_LISTING_H_

#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"

namespace anemone::internal {

struct ObjectListing {
  std::vector<std::string> keys;
  std::string next;  // asks for the page behind this one; empty: this is the last
};

// Errors: Unavailable where `xml` is no listing.
Result<ObjectListing> ParseObjectListing(std::string_view xml);

}  // namespace anemone::internal

#endif  // ANEMONE_NET_OBJECT_LISTING_H_
