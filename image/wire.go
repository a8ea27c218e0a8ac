package image

// A Request is what the program that makes images is asked for: a line of JSON on its standard input, which stays open until the asking
// process ends.
type Request struct {
	Name string `json:"name,omitempty"` // written out
	// Archive is, in place of Name, the absolute path of a file or an image layout with images that a Docker daemon is to load.
	Archive string `json:"archive,omitempty"`
	// Resolve asks what the image is, and for nothing to be made of it.
	Resolve bool `json:"resolve,omitempty"`

	Dir   string `json:"dir"` // of the Store
	Limit int64  `json:"limit,omitempty"`
}

// A Reply is a line of JSON that it answers with. One with ID or Error is the last.
type Reply struct {
	// Phase says what it does, with the bytes done and, if that is known, those of all.
	Phase string `json:"phase,omitempty"`
	Done  int64  `json:"done,omitempty"`
	Total int64  `json:"total,omitempty"`

	// ID is that of the image, or for an archive the digest of its contents.
	ID string `json:"id,omitempty"`
	// Manifest is the digest by which its registry knows the image, if that was asked for by Resolve.
	Manifest string `json:"manifest,omitempty"`

	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
	// Unreachable says that the registry could not be asked, and not that it said no.
	Unreachable bool `json:"unreachable,omitempty"`
}
