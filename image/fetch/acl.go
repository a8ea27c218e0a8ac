package fetch

import "encoding/binary"

// ext4ACL turns an access control list from the form of the attribute (include/uapi/linux/posix_acl_xattr.h) into that of the disk
// (fs/ext4/acl.h), which has the numbers of users and groups only where an entry is about one.
func ext4ACL(v string) (string, bool) {
	const (
		attributeVersion, diskVersion = 2, 1
		user, group                   = 0x02, 0x08
	)
	b := []byte(v)
	if len(b) < 4 || (len(b)-4)%8 != 0 || binary.LittleEndian.Uint32(b) != attributeVersion {
		return "", false
	}
	out := binary.LittleEndian.AppendUint32(nil, diskVersion)
	for b = b[4:]; len(b) > 0; b = b[8:] {
		out = append(out, b[:4]...)
		if tag := binary.LittleEndian.Uint16(b); tag == user || tag == group {
			out = append(out, b[4:8]...)
		}
	}
	return string(out), true
}
