#include "net/url.h"

#include <algorithm>
#include <cstdlib>
#include <initializer_list>
#include <optional>
#include <utility>
#include <vector>

#include "net/hub_files.h"
#include "net/object_listing.h"
#include "net/remote_files.h"

namespace anemone {
namespace {

constexpr size_t kMaxObjects = 100000;

// The first of these variables that is set; "" without.
std::string Env(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* value = name == nullptr ? nullptr : std::getenv(name);
    if (value != nullptr && *value != 0) return value;
  }
  return {};
}

// Which variables tell of an object store.
struct Store {
  std::string_view scheme;
  std::initializer_list<const char*> endpoint, region, key_id, secret, session, bearer;
  std::string_view default_region;
  std::string_view default_endpoint;  // "REGION" is the region
};
const Store kStores[] = {
    {.scheme = "s3://",
     .endpoint = {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"},
     .region = {"AWS_REGION", "AWS_DEFAULT_REGION"},
     .key_id = {"AWS_ACCESS_KEY_ID"},
     .secret = {"AWS_SECRET_ACCESS_KEY"},
     .session = {"AWS_SESSION_TOKEN"},
     .bearer = {},
     .default_region = "us-east-1",
     .default_endpoint = "https://s3.REGION.amazonaws.com"},
    {.scheme = "gs://",
     .endpoint = {"STORAGE_EMULATOR_HOST"},
     .region = {},
     .key_id = {"GS_ACCESS_KEY_ID"},
     .secret = {"GS_SECRET_ACCESS_KEY"},
     .session = {},
     .bearer = {"CLOUDSDK_AUTH_ACCESS_TOKEN", "GOOGLE_OAUTH_ACCESS_TOKEN"},
     .default_region = "auto",
     .default_endpoint = "https://storage.googleapis.com"},
};

// A directory on a server: how it is called, its address, and how it is asked.
struct Folder {
  std::string root;
  std::string url;  // ends in '/'
  RemoteFile model = {.name = {}, .request = {}, .refusal = HttpRefusal};
};

// Of a sharded model, adds the files that its index names.
Status AddShards(RemoteFiles& files, const std::string& index, const std::string& url) {
  ANEMONE_ASSIGN(ByteSourcePtr source, files.Open(files.root() + "/" + index));
  ANEMONE_ASSIGN(const std::vector<std::string> shards, internal::ReadShards(std::move(source)));
  for (const std::string& shard : shards) files.Add(shard, url + UrlEncode(shard, "/"));
  return {};
}

// One file, `url`, and what belongs to it.
Result<Location> OpenOne(const Folder& folder, const std::string& name, const std::string& url,
                         const HttpOptions& options) {
  auto files = std::make_shared<RemoteFiles>(folder.root, folder.model, options);
  const Location place(folder.root + "/" + name, files);
  files->Add(name, url);
  ANEMONE_TRY(files->Open(place.string()).status());
  if (name.ends_with(".nemo") || internal::ChooseFiles({name}).weights != name) return place;
  ANEMONE_TRY(files->AddIfThere(internal::FilesBeside(), folder.url));
  if (name.ends_with(".index.json")) ANEMONE_TRY(AddShards(*files, name, folder.url));
  return place;
}

// A folder of a server that lists nothing: what there is of Hugging Face's layout.
Result<Location> OpenByNames(const Folder& folder, const HttpOptions& options) {
  auto files = std::make_shared<RemoteFiles>(folder.root, folder.model, options);
  ANEMONE_TRY(files->AddIfThere(internal::FilesOfModels(), folder.url));
  const std::string weights = internal::ChooseFiles(files->Below(folder.root)).weights;
  if (weights.empty()) {
    return NotFound("expected model.safetensors or other weights by the names of Hugging Face, found none",
                    "a server of files lists nothing: give the address of a file")
        .In(folder.root + "/");
  }
  if (weights.ends_with(".index.json")) ANEMONE_TRY(AddShards(*files, weights, folder.url));
  return Location(folder.root, files);
}

Result<Location> OpenHttp(const std::string& url, const HttpOptions& options) {
  const std::string bare = url.substr(0, url.find_first_of("?#"));
  const size_t slash = bare.rfind('/');
  const size_t host = bare.find("://") + 3;
  if (slash < host || host == bare.size()) return OpenHttp(bare + "/" + url.substr(bare.size()), options);
  Folder folder;
  folder.url = bare.substr(0, slash + 1);
  folder.root = HttpOrigin(bare) + bare.substr(bare.find('/', host), slash - bare.find('/', host));
  const std::string name = bare.substr(slash + 1);
  return name.empty() ? OpenByNames(folder, options) : OpenOne(folder, name, url, options);
}

// All objects below `prefix`, which is empty or ends in '/'.
Result<Location> OpenPrefix(const Folder& bucket, const std::string& prefix, const HttpOptions& options) {
  std::string root = bucket.root + "/" + prefix;
  root.pop_back();
  auto files = std::make_shared<RemoteFiles>(root, bucket.model, options);
  HttpRequest request = bucket.model.request;
  std::string next;
  size_t count = 0;
  do {
    // The parameters in order, as a signature has them.
    const std::string token = next.empty() ? "" : "continuation-token=" + UrlEncode(next) + "&";
    request.url = bucket.url.substr(0, bucket.url.size() - 1) + "?" + token + "list-type=2&prefix=" + UrlEncode(prefix);
    ANEMONE_ASSIGN(const HttpResponse response,
                   files->pool().With([&](HttpClient& client) { return client.Send(request); }));
    if (response.status != 200) return HttpRefusal(response).In(root + "/");
    Result<internal::ObjectListing> page = internal::ParseObjectListing(response.body);
    if (!page.ok()) return page.status().In(root + "/");
    if (count += page->keys.size(); count > kMaxObjects)
      return LimitExceeded("expected at most " + std::to_string(kMaxObjects) + " objects, found more").In(root + "/");
    for (const std::string& key : page->keys) {
      if (key.starts_with(prefix) && !key.ends_with('/'))
        files->Add(std::string_view(key).substr(prefix.size()), bucket.url + UrlEncode(key, "/"));
    }
    if (page->keys.empty() && !page->next.empty())
      return Status(ErrorKind::kUnavailable, "expected objects on each page of the listing").In(root + "/");
    next = std::move(page->next);
  } while (!next.empty());
  if (files->Below(root).empty()) return NotFound("expected objects below it, found none").In(root + "/");
  return Location(root, files);
}

Result<Location> OpenObject(const Store& store, const std::string& url, const HttpOptions& options) {
  const std::string path = url.substr(store.scheme.size());
  const std::string name = path.substr(0, path.find('/'));
  const std::string key = path.substr(std::min(name.size() + 1, path.size()));
  if (name.empty()) return InvalidArgument("expected a bucket, found none").In(url);
  std::string region = Env(store.region), endpoint = Env(store.endpoint);
  if (region.empty()) region = store.default_region;
  if (endpoint.empty()) {
    endpoint = store.default_endpoint;
    if (const size_t at = endpoint.find("REGION"); at != std::string::npos) endpoint.replace(at, 6, region);
  }
  if (endpoint.find("://") == std::string::npos) endpoint.insert(0, "http://");
  while (endpoint.ends_with('/')) endpoint.pop_back();

  Folder bucket{.root = std::string(store.scheme) + name, .url = endpoint + "/" + UrlEncode(name) + "/"};
  const std::string key_id = Env(store.key_id), secret = Env(store.secret);
  if (key_id.empty() != secret.empty()) {
    return InvalidArgument("expected both of " + std::string(*store.key_id.begin()) + " and " + *store.secret.begin() +
                           ", found one")
        .In(url);
  }
  bucket.model.request.bearer_token = Env(store.bearer);
  if (!key_id.empty())
    bucket.model.request.signature = {"aws:amz:" + region + ":s3", key_id, secret, Env(store.session)};

  if (key.empty() || key.ends_with('/')) return OpenPrefix(bucket, key, options);
  const size_t slash = key.rfind('/') + 1;  // 0 without one
  Folder folder = bucket;
  folder.root += slash == 0 ? "" : "/" + key.substr(0, slash - 1);
  folder.url += UrlEncode(key.substr(0, slash), "/");
  Result<Location> file = OpenOne(folder, key.substr(slash), bucket.url + UrlEncode(key, "/"), options);
  if (file.ok() || file.status().kind() != ErrorKind::kNotFound) return file;
  Result<Location> below = OpenPrefix(bucket, key + "/", options);
  return below.ok() || below.status().kind() != ErrorKind::kNotFound ? below : file;
}

}  // namespace

bool IsUrl(std::string_view text) {
  return text.starts_with("https://") || text.starts_with("http://") ||
         std::ranges::any_of(kStores, [&](const Store& store) { return text.starts_with(store.scheme); });
}

Result<Location> OpenUrl(const std::string& url, const HttpOptions& options) {
  for (const Store& store : kStores) {
    if (url.starts_with(store.scheme)) return OpenObject(store, url, options);
  }
  return OpenHttp(url, options);
}

}  // namespace anemone
