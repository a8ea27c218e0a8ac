package guest

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
)

// credentials are a user of the guest's root, as its passwd(5) and group(5) say.
type credentials struct {
	name, home, shell string
	uid, gid          uint32
	groups            []uint32
}

// credential is nil for root, who the init is already.
func (c *credentials) credential() *syscall.Credential {
	if c.uid == 0 && c.gid == 0 && len(c.groups) == 0 {
		return nil
	}
	return &syscall.Credential{Uid: c.uid, Gid: c.gid, Groups: c.groups}
}

// environ adds what login(1) sets, where it isn't set.
func (c *credentials) environ(env []string) []string {
	for _, kv := range [][2]string{{"HOME", c.home}, {"USER", c.name}, {"LOGNAME", c.name}, {"SHELL", c.shell}} {
		if kv[1] != "" && !hasKey(env, kv[0]) {
			env = append(env, kv[0]+"="+kv[1])
		}
	}
	return env
}

func hasKey(env []string, key string) bool {
	for _, e := range env {
		if strings.HasPrefix(e, key+"=") {
			return true
		}
	}
	return false
}

// lookUpUser finds NAME, UID, NAME:GROUP or UID:GID; empty is root. A number needs no entry in the files.
func lookUpUser(spec string) (*credentials, error) {
	name, group, hasGroup := strings.Cut(spec, ":")
	if name == "" {
		name = "0"
	}
	c, err := passwdEntry(name)
	if err != nil {
		return nil, err
	}
	if !hasGroup {
		if c.uid != 0 {
			c.groups = groupsOf(c.name)
		}
		return c, nil
	}
	g, err := groupID(group)
	if err != nil {
		return nil, err
	}
	c.gid = g
	return c, nil
}

// passwdEntry finds a user by name or number.
func passwdEntry(name string) (*credentials, error) {
	number, numErr := strconv.ParseUint(name, 10, 32)
	var found *credentials
	eachLine("/etc/passwd", 7, func(f []string) bool {
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 != nil || err2 != nil || f[0] != name && (numErr != nil || uid != number) {
			return true
		}
		found = &credentials{name: f[0], uid: uint32(uid), gid: uint32(gid), home: f[5], shell: f[6]}
		return false
	})
	switch {
	case found != nil:
		return found, nil
	case numErr != nil:
		return nil, fmt.Errorf("user %q: find it: there is no such user in the sub-kernel's /etc/passwd", name)
	case number == 0:
		return &credentials{name: "root", home: "/root", shell: "/bin/sh"}, nil
	}
	return &credentials{uid: uint32(number), gid: uint32(number), home: "/"}, nil
}

// groupID finds a group by name or number.
func groupID(name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	var id uint64
	err := fmt.Errorf("group %q: find it: there is no such group in the sub-kernel's /etc/group", name)
	eachLine("/etc/group", 4, func(f []string) bool {
		if f[0] != name {
			return true
		}
		id, err = strconv.ParseUint(f[2], 10, 32)
		return false
	})
	return uint32(id), err
}

// groupsOf lists the supplementary groups of a user.
func groupsOf(name string) []uint32 {
	var ids []uint32
	eachLine("/etc/group", 4, func(f []string) bool {
		for _, m := range strings.Split(f[3], ",") {
			if m == name && name != "" {
				if id, err := strconv.ParseUint(f[2], 10, 32); err == nil {
					ids = append(ids, uint32(id))
				}
			}
		}
		return true
	})
	return ids
}

// eachLine calls f with the fields of each line that has n of them, until it returns false. A file that isn't there has no lines.
func eachLine(file string, n int, f func([]string) bool) {
	b, err := readFile(file)
	if err != nil {
		return
	}
	for _, l := range strings.Split(string(b), "\n") {
		if w := strings.Split(l, ":"); len(w) >= n && !f(w) {
			return
		}
	}
}
