package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A sumReader computes the digest of what is read, which it bounds.
type sumReader struct {
	ctx context.Context
	r   io.Reader
	h   hash.Hash
	n   int64
}

func newSum(ctx context.Context, r io.Reader) *sumReader {
	return &sumReader{ctx: ctx, r: r, h: sha256.New()}
}

// Read implements io.Reader.
func (s *sumReader) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	s.h.Write(p[:n])
	if s.n += int64(n); s.n > 2*maxContents {
		return 0, fmt.Errorf("it has more than %d bytes", int64(2*maxContents))
	}
	return n, err
}

func (s *sumReader) hash() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(s.h.Sum(nil))}
}

// A boundReader ends when its context does.
type boundReader struct {
	ctx context.Context
	io.ReadCloser
}

// Read implements io.Reader.
func (b *boundReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.ReadCloser.Read(p)
}
