package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A Message is a payload with fields. Each type lists its fields once, for both directions.
type Message interface{ fields(c *codec) }

// A codec writes a message's fields to b, or reads them from it. Integers are varints (encoding/binary); strings and lists have their length
// before them. It is no JSON because the guest's init would pay for that with every page of a larger program, at every boot.
type codec struct {
	b       []byte
	reading bool
	err     error
}

var (
	errShort = errors.New("it ends too early")
	errLong  = errors.New("it goes on behind its end")
	errRange = errors.New("a number is out of range")
)

// Append appends a message's payload to b.
func Append(b []byte, m Message) []byte {
	c := codec{b: b}
	m.fields(&c)
	return c.b
}

// Decode fills m from a payload. Strings are copied from it. Its error wraps ErrProtocol; m is undefined then.
func Decode(k Kind, payload []byte, m Message) error {
	c := codec{b: payload, reading: true}
	m.fields(&c)
	if c.err == nil && len(c.b) > 0 {
		c.err = errLong
	}
	if c.err != nil {
		return fmt.Errorf("wire: decode a frame of kind %#x: %w: %w", k, ErrProtocol, c.err)
	}
	return nil
}

// fail notes the first error, after which nothing more is read.
func (c *codec) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.b = nil
}

func (c *codec) int64(v *int64) {
	if !c.reading {
		c.b = binary.AppendVarint(c.b, *v)
		return
	}
	n, size := binary.Varint(c.b)
	if size <= 0 {
		c.fail(errShort)
		return
	}
	*v, c.b = n, c.b[size:]
}

// integer is a field of another type that an int64 holds.
func integer[T ~int | ~uint16 | ~uint32](c *codec, v *T) {
	n := int64(*v)
	c.int64(&n)
	if *v = T(n); int64(*v) != n {
		c.fail(errRange)
	}
}

func (c *codec) bool(v *bool) {
	n := int64(0)
	if *v {
		n = 1
	}
	c.int64(&n)
	if n != 0 && n != 1 {
		c.fail(errRange)
	}
	*v = n == 1
}

// length is that of what follows, whose elements take a byte each at least: so what is read bounds what is allocated.
func (c *codec) length(n int) int {
	v := int64(n)
	c.int64(&v)
	if v < 0 || c.reading && v > int64(len(c.b)) {
		c.fail(errShort)
		return 0
	}
	return int(v)
}

func (c *codec) string(s *string) {
	n := c.length(len(*s))
	if !c.reading {
		c.b = append(c.b, *s...)
		return
	}
	*s, c.b = string(c.b[:n]), c.b[n:]
}

// list is a list whose elements one function reads or writes.
func list[T any](c *codec, v *[]T, element func(*T)) {
	n := c.length(len(*v))
	if c.reading {
		*v = nil
		if n > 0 {
			*v = make([]T, 0, min(n, 1024)) // an element may take more than a byte: grow as they come
		}
		for ; n > 0 && c.err == nil; n-- {
			*v = append(*v, *new(T))
			element(&(*v)[len(*v)-1])
		}
		return
	}
	for i := range *v {
		element(&(*v)[i])
	}
}
