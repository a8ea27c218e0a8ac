package config

import "github.com/hashicorp/hcl/v2"

// A BlockSchema describes one kind of block. The loader reads blocks by it, and the reference in docs is made from it.
type BlockSchema struct {
	Name string
	// Labels are the names of the block's labels, in order.
	Labels []string
	Doc    string
	Attrs  []AttrSchema
	Blocks []*BlockSchema
	// Repeated means that a block without labels may stand more than once; those of a later file replace the ones of an earlier.
	Repeated bool
	// Numbered means that blocks of the same labels may stand more than once; the first of a later file is merged over the first of an earlier.
	Numbered bool
	// FreeAttrs means that the block takes attributes of any name.
	FreeAttrs bool
	// alternatives are groups of attributes and blocks, of which at most one may be set. One in a later file replaces
	// another in an earlier.
	alternatives [][]string
}

// An AttrSchema describes one attribute of a block.
type AttrSchema struct {
	Name string
	// Type is for people: "string", "size", "list of strings".
	Type     string
	Default  string
	Doc      string
	Required bool
	// Sensitive means that the value of a sensitive variable may stand here: it is redacted wherever the project is printed.
	Sensitive bool
	// Merged means that the maps of several files are merged by key; otherwise the last file's value counts.
	Merged bool
}

// Schema returns the language: the attributes and blocks of a file. The result must not be changed.
func Schema() *BlockSchema { return fileSchema }

// block returns the schema of a nested block, or nil.
func (s *BlockSchema) block(name string) *BlockSchema {
	for _, b := range s.Blocks {
		if b.Name == name {
			return b
		}
	}
	return nil
}

// attr returns the schema of an attribute, or nil.
func (s *BlockSchema) attr(name string) *AttrSchema {
	for i := range s.Attrs {
		if s.Attrs[i].Name == name {
			return &s.Attrs[i]
		}
	}
	return nil
}

// hcl returns the schema for the HCL library: what the block takes, and what it will take in a later version.
func (s *BlockSchema) hcl() *hcl.BodySchema {
	out := &hcl.BodySchema{}
	for _, a := range s.Attrs {
		out.Attributes = append(out.Attributes, hcl.AttributeSchema{Name: a.Name})
	}
	for _, b := range s.Blocks {
		out.Blocks = append(out.Blocks, hcl.BlockHeaderSchema{Type: b.Name, LabelNames: b.Labels})
	}
	for _, n := range later[s.Name] {
		if n.attr {
			out.Attributes = append(out.Attributes, hcl.AttributeSchema{Name: n.name})
		} else {
			out.Blocks = append(out.Blocks, hcl.BlockHeaderSchema{Type: n.name, LabelNames: n.labels})
		}
	}
	return out
}

var fileSchema = &BlockSchema{
	Name: "file",
	Doc:  "The top level of a file.",
	Attrs: []AttrSchema{
		{Name: "project", Type: "string", Default: "the name of the file's folder",
			Doc: "The project's name, for reports. It is read before everything else, so that it can't refer to anything."},
	},
	Blocks: []*BlockSchema{variableSchema, localsSchema, kernelSchema, networkSchema, subkernelSchema},
}

var variableSchema = &BlockSchema{
	Name:   "variable",
	Labels: []string{"name"},
	Doc: "An input of the file, used as `var.NAME`. Its value comes from `--var NAME=VALUE`, else from a `--var-file`, else from the " +
		"environment variable `SEKEXE_VAR_NAME`, else it is the default.",
	Attrs: []AttrSchema{
		{Name: "type", Type: "type", Default: "any",
			Doc: "A type constraint, such as `string`, `number`, `bool`, `list(string)`, `map(number)` or `object({ port = number, host = optional(string, \"a\") })`."},
		{Name: "default", Type: "any", Doc: "The value where none is given. A variable without one must be given."},
		{Name: "description", Type: "string", Doc: "What the variable is for; shown where it is missing."},
		{Name: "sensitive", Type: "bool", Default: "false",
			Doc: "Never print the value. It may be used in commands, environments and sources of mounts, and nowhere else."},
	},
	Blocks: []*BlockSchema{{
		Name:     "validation",
		Doc:      "A rule for the value. There may be several.",
		Repeated: true,
		Attrs: []AttrSchema{
			{Name: "condition", Type: "bool", Required: true, Doc: "True where the value is good. It may refer to variables."},
			{Name: "error_message", Type: "string", Required: true, Doc: "What to tell whoever gave a bad value."},
		},
	}},
}

var localsSchema = &BlockSchema{
	Name:      "locals",
	Doc:       "Named expressions, used as `local.NAME`. They may refer to each other in any order. There may be several such blocks.",
	Repeated:  true,
	FreeAttrs: true,
}

var kernelSchema = &BlockSchema{
	Name:         "kernel",
	Labels:       []string{"name"},
	Doc:          "A kernel to boot, used as `kernel.NAME`.",
	alternatives: [][]string{{"path", "version", "build"}, {"path", "flavour"}},
	Attrs: []AttrSchema{
		{Name: "path", Type: "path", Doc: "The executable of a User Mode Linux."},
		{Name: "version", Type: "string", Doc: "Instead of a path: the version of a kernel that `sekexe kernel build` made, or its beginning: `\"7\"` and `\"7.2\"` both take 7.2.1."},
		{Name: "flavour", Type: "string", Default: "any, but rather \"default\"",
			Doc: "The newest kernel that was built of this flavour, and has the version: `\"default\"`, `\"smp\"` (several CPUs), `\"debug\"` or `\"time-travel\"`."},
		{Name: "modules", Type: "path", Default: "found by the kernel's version", Doc: "The folder with `VERSION/`, where the modules are."},
	},
	Blocks: []*BlockSchema{{
		Name: "build",
		Doc: "Instead of a path or a version: what `sekexe up --build` builds the kernel of, unless that was done before. It is that kernel alone which is booted: " +
			"where it isn't built, or the source folder or a fragment has changed since, `sekexe up` is an error. One of `source`, `version` and `debian` must be set. " +
			"The flavour is that of the kernel block, by default `\"default\"`.",
		alternatives: [][]string{{"source", "version", "debian"}},
		Attrs: []AttrSchema{
			{Name: "source", Type: "path", Doc: "A folder or a tarball with the kernel's source."},
			{Name: "version", Type: "string", Doc: "A release of kernel.org, such as `\"7.2.1\"`."},
			{Name: "debian", Type: "string", Doc: "A Debian suite, such as `\"sid\"`: its newest linux-source package, which `sekexe up --build` asks for each time."},
			{Name: "set", Type: "map of symbols", Merged: true, Doc: "Symbols of the configuration: `{ CONFIG_BTRFS_FS = \"y\", CONFIG_LOG_BUF_SHIFT = 18 }`. " +
				"A value is `\"y\"`, `\"m\"`, `\"n\"` (or true and false), a number, or a text with quotes of its own: `\"\\\"text\\\"\"`. A null leaves a symbol out."},
			{Name: "fragments", Type: "list of paths", Doc: "Files of symbols, laid over the configuration in this order; `set` comes after them."},
			{Name: "unmodified", Type: "bool", Default: "false", Doc: "Build the source as it is, without the edits that make sub-kernels faster."},
		},
	}},
}

var commandDoc = "A string is run by `/bin/sh -c`; a list is a program with its arguments, and no shell is involved."

var (
	envAttr = AttrSchema{Name: "env", Type: "map of strings", Merged: true, Sensitive: true,
		Doc: "Environment variables of the commands. A null leaves a variable out."}
	workdirAttr = AttrSchema{Name: "workdir", Type: "path in the guest", Default: "the user's home", Doc: "The folder that commands start in."}
	userAttr    = AttrSchema{Name: "user", Type: "string", Default: "root", Doc: "Who runs the commands: a name or number, or either with `:GROUP`."}
)

var copyOutDoc = "What to copy from the guest after the last step, also when it failed or its time was up: `{ \"/var/log/app\" = \"./log\", \"/tmp/*.xml\" = \"./junit\" }`. " +
	"A folder's contents go to the folder that is named, a file to the file that is named, or into it if it is a folder or ends with `/`; what a pattern " +
	"(`*`, `?`, `[a-z]`) matches goes into the folder. In place of a path there may be an object: " +
	"`{ to = \"./log\", optional = true, limit = \"4G\" }`. Where the path isn't there, or nothing matches, the sub-kernel has failed, unless the copy is optional. " +
	"More than `limit` (`\"1G\"`) is a failure too. See [mounts](mounts.md#copying-results-out)."

var subkernelSchema = &BlockSchema{
	Name:         "subkernel",
	Labels:       []string{"name"},
	Doc:          "A sub-kernel to boot: a complete Linux kernel with its root, mounts and commands. Other expressions see `name`, `hostname`, `memory`, `cpus`, `workdir`, `user` and `address`, the fixed address of the first nic or null, as `subkernel.NAME.hostname`.",
	alternatives: [][]string{{"for_each", "count", "matrix"}, {"network", "nic"}},
	Attrs: []AttrSchema{
		{Name: "for_each", Type: "map or set of strings", Doc: "Make one instance for each element: `NAME[\"key\"]`, with `each.key` and `each.value`."},
		{Name: "count", Type: "number", Doc: "Make so many instances: `NAME[0]` and so on, with `count.index`."},
		{Name: "matrix", Type: "map of lists",
			Doc: "Make one instance for each combination of elements: `{ db = [\"pg\", \"my\"], kernel = [kernel.a, kernel.b] }` makes `NAME[\"pg/a\"]` and so on, with `matrix.db` and `matrix.kernel`. Elements are strings, numbers and bools; those of `kernel` are kernels and paths, and the instance's kernel."},
		{Name: "kernel", Type: "kernel or path", Default: "that of the matrix, else the default kernel", Doc: "The kernel to boot: `kernel.NAME`, or the path of an executable."},
		{Name: "memory", Type: "size", Default: "\"256M\", with docker \"1G\"", Doc: "The memory of the sub-kernel, at least 32M. `\"512M\"`, `\"1G\"` and `\"1GiB\"` are powers of two."},
		{Name: "cpus", Type: "number", Default: "1", Doc: "The number of CPUs. More than one needs a kernel of the flavour `smp`, and isolation `\"fast\"`."},
		{Name: "isolation", Type: "string", Default: "\"strict\", with several CPUs \"fast\"", Doc: "What keeps the guest's processes from each other and from their kernel: `\"strict\"`: the host (ptrace); `\"fast\"`: less time for each system call, but a process of the guest can get at all of the guest's memory, so that its users are no longer safe from each other (seccomp; kernels from 6.16 on). The host is as safe from the guest in both. Several CPUs need `\"fast\"`."},
		{Name: "hostname", Type: "string", Default: "made from the name", Doc: "The host name: letters, digits and hyphens, at most 63."},
		networkAttr, publishAttr, envAttr, workdirAttr, userAttr,
		{Name: "cgroups", Type: "string", Default: "\"v2\"", Doc: "`\"v2\"`, or `\"v1\"` for old software."},
		{Name: "command", Type: "string or list of strings", Sensitive: true, Doc: "The command to run, after the steps. " + commandDoc + " A sub-kernel without a command and steps is a service; if its root is an image, it runs the image's own command."},
		{Name: "service", Type: "bool", Default: "false", Doc: "The last command is meant to run until the other sub-kernels have ended, and is stopped then."},
		{Name: "depends_on", Type: "list of sub-kernels, or map to conditions", Merged: true,
			Doc: "What must come first: `[subkernel.a, subkernel.b[\"x\"]]`, or `{ a = \"started\" }` with the condition `\"completed\"` (its commands ended well, the default), `\"ready\"` (of a service, the default there) or `\"started\"` (it is up). A block with for_each, count or matrix means all of its instances."},
		{Name: "timeout", Type: "duration", Default: "none", Doc: "The time for the whole sub-kernel, from its start: `\"90s\"`, `\"1h30m\"`."},
		{Name: "boot_timeout", Type: "duration", Default: "\"60s\"", Doc: "The time until the guest is up."},
		{Name: "stop_timeout", Type: "duration", Default: "\"10s\"", Doc: "The time a stop may take before the sub-kernel is killed."},
		{Name: "expect_exit", Type: "number or list of numbers", Default: "0", Doc: "The exit statuses of the last command that count as success."},
		{Name: "copy_out", Type: "map of paths in the guest to paths", Merged: true, Doc: copyOutDoc},
		{Name: "expect_outcome", Type: "string", Default: "\"exited\"", Doc: "`\"panicked\"` or `\"timed-out\"` where that is what is meant to happen."},
	},
	Blocks: []*BlockSchema{
		{
			Name:         "root",
			Doc:          "The root file system: without `source` and `image`, this machine's.",
			alternatives: [][]string{{"source", "image"}},
			Attrs: []AttrSchema{
				{Name: "mode", Type: "string", Default: "\"overlay\"", Doc: "`\"overlay\"`: what the guest writes goes to memory, and nobody else sees it; `\"ro\"`: read-only."},
				{Name: "source", Type: "path", Doc: "The root of another system: a folder (unpacked, or made by debootstrap), or a file with an ext4, squashfs or erofs file system, which is never written to."},
				{Name: "image", Type: "string", Doc: "An OCI image: of a registry (`\"alpine:3.20\"`), `\"oci:DIR[:TAG]\"`, an image layout, or `\"docker-archive:FILE[:NAME:TAG]\"`, what docker save writes. Its environment, user and working directory hold unless the sub-kernel says otherwise; " +
					"without a command and steps, its own command is run. See [images.md](images.md)."},
				{Name: "pull", Type: "string", Default: "\"missing\"", Doc: "When the registry is asked for the image: `\"missing\"`: if it isn't there yet; `\"always\"`: each time, whether the tag means another image by now; `\"never\"`."},
				{Name: "persist", Type: "path", Default: "none: it is in memory, and gone with the sub-kernel", Doc: "The folder that keeps what the guest writes to an overlay from run to run; it is made if it isn't there. Only one sub-kernel can use it at a time, and only over the same root. See [images.md](images.md#a-root-that-lasts)."},
				{Name: "size", Type: "size", Default: "half of the memory; with `persist` 8G", Doc: "The most that the guest can write to an overlay. With `persist` it can be made larger later, not smaller."},
			},
		},
		{
			Name:   "mount",
			Labels: []string{"target"},
			Doc:    "A file or folder of the host, mounted at TARGET in the guest.",
			Attrs: []AttrSchema{
				{Name: "source", Type: "path", Required: true, Sensitive: true, Doc: "What to mount. It must exist."},
				{Name: "mode", Type: "string", Default: "\"ro\"", Doc: "`\"ro\"`, `\"rw\"`, or `\"overlay\"`: what the guest writes goes to memory."},
			},
		},
		{
			Name:   "tmpfs",
			Labels: []string{"target"},
			Doc:    "A file system in the guest's memory, mounted at TARGET.",
			Attrs: []AttrSchema{
				{Name: "size", Type: "size", Default: "half of the memory", Doc: "The most it holds."},
				{Name: "mode", Type: "string", Default: "\"1777\"", Doc: "The permissions of its root, in octal."},
			},
		},
		{
			Name:   "disk",
			Labels: []string{"target"},
			Doc: "A block device of the guest's own with a file system on it, mounted at TARGET: for what is too much for memory, what has to last, and what hostfs " +
				"can't do, such as other owners. It is a sparse file of the host, made on first use, without root; only one sub-kernel can use it at a time.",
			Attrs: []AttrSchema{
				{Name: "size", Type: "size", Required: true, Doc: "How large it is, at least 16M. A disk that is smaller is grown; none is made smaller."},
				{Name: "file", Type: "path", Default: "none: the disk is new, and gone with the sub-kernel", Doc: "The file that holds it, and keeps it from run to run."},
				{Name: "fs", Type: "string", Default: "\"ext4\"", Doc: "The file system: `\"ext4\"` is the only one."},
				{Name: "mode", Type: "string", Default: "\"755\"", Doc: "The permissions of its root, in octal, when it is made."},
			},
		},
		nicSchema,
		confineSchema, dockerSchema,
		{
			Name:   "step",
			Labels: []string{"name"},
			Doc:    "A command. Steps run in order, and the first that fails ends the sub-kernel.",
			Attrs: []AttrSchema{
				{Name: "command", Type: "string or list of strings", Required: true, Sensitive: true, Doc: commandDoc},
				{Name: "env", Type: "map of strings", Merged: true, Sensitive: true, Doc: "Environment variables, added to the sub-kernel's."},
				{Name: "workdir", Type: "path in the guest", Default: "the sub-kernel's", Doc: "The folder that the command starts in."},
				{Name: "user", Type: "string", Default: "the sub-kernel's", Doc: "Who runs the command."},
				{Name: "timeout", Type: "duration", Default: "none", Doc: "The time for the command."},
				{Name: "continue_on_error", Type: "bool", Default: "false", Doc: "Run the next step even if this one failed. The failure counts still."},
				{Name: "expect_exit", Type: "number or list of numbers", Default: "0", Doc: "The exit statuses that count as success."},
			},
		},
		{
			Name:         "ready",
			Doc:          "When a service is ready for those that depend on it; without this block, as soon as it is up. One of `command`, `port` and `log` must be set.",
			alternatives: [][]string{{"command", "port", "log"}},
			Attrs: []AttrSchema{
				{Name: "command", Type: "string or list of strings", Sensitive: true, Doc: "Ready when this command ends with 0. " + commandDoc},
				{Name: "port", Type: "number", Doc: "Ready when something accepts a TCP connection on this port, in the guest."},
				{Name: "log", Type: "regular expression", Doc: "Ready when a line of the service's output matches (RE2 syntax)."},
				{Name: "interval", Type: "duration", Default: "\"200ms\"", Doc: "The time between two attempts."},
				{Name: "timeout", Type: "duration", Default: "\"60s\"", Doc: "The time for all attempts together. When it has passed, the service has failed."},
			},
		},
	},
}

// A laterName is a name that a later version of sekexe will know. It is refused with a message of its own, never ignored.
type laterName struct {
	name   string
	attr   bool     // an attribute; else a block
	labels []string // of a block
}

// later holds the names of constructs that sekexe doesn't carry out yet, by the block that they stand in. Whoever makes one work removes it here.
var later = map[string][]laterName{
	"file": {
		{name: "disk", labels: []string{"name"}},
		{name: "template", labels: []string{"name"}},
	},
	"network": {
		{name: "for_each", attr: true},
	},
	"subkernel": {
		{name: "inherits", attr: true},
		{name: "copy_in", labels: []string{"target"}},
	},
}

// isLater reports whether name is a construct of a later version in the given block.
func isLater(block, name string) bool {
	for _, n := range later[block] {
		if n.name == name {
			return true
		}
	}
	return false
}
