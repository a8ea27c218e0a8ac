package kernel

import "errors"

// What can be wrong with a kernel. An *Error wraps one of them.
var (
	ErrNotFound      = errors.New("does not exist")
	ErrNotFile       = errors.New("is no regular file")
	ErrNotExecutable = errors.New("is not executable")
	ErrUnreadable    = errors.New("can't be read")
	ErrScript        = errors.New("is a script, not a kernel")
	ErrNotELF        = errors.New("is no ELF executable")
	ErrWrongArch     = errors.New("is not for x86-64")
	ErrNotUML        = errors.New("is no User Mode Linux")
	ErrCrashed       = errors.New("crashed when asked for its configuration")
	ErrHung          = errors.New("did not answer when asked for its configuration")
	ErrBadAnswer     = errors.New("gave an answer that is none")
	ErrVersion       = errors.New("has another version")
	ErrFlavour       = errors.New("has another flavour")
	ErrLacks         = errors.New("is built without what every sub-kernel needs")
	ErrModules       = errors.New("has no modules there")
	// ErrNone says that there is no kernel that fits the choice.
	ErrNone = errors.New("there is none that fits")
)

// An Error says what is wrong with one kernel, or with the search for one.
type Error struct {
	// Path is the executable; empty where none was found.
	Path string
	// Problem is one of the Err values.
	Problem error
	// Detail says more; may be empty. What a program printed is bounded and has no control characters in it.
	Detail string
	hint   string
}

// Error returns one line.
func (e *Error) Error() string {
	s := "kernel"
	if e.Path != "" {
		s += " " + e.Path + ": " + e.Problem.Error()
	}
	if e.Detail == "" {
		return s
	}
	return s + ": " + e.Detail
}

// Unwrap returns Problem.
func (e *Error) Unwrap() error { return e.Problem }

// Hint says what to do about it.
func (e *Error) Hint() string { return e.hint }

// HowToGet says how a user gets a kernel.
const HowToGet = "install one (apt install user-mode-linux), build one (sekexe kernel build --help), or name the path of one: --kernel PATH, path in a kernel block, or " + EnvKernel + "=PATH"

func problem(path string, what error, detail, hint string) *Error {
	return &Error{Path: path, Problem: what, Detail: detail, hint: hint}
}
