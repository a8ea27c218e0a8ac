package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

var (
	basenameFunc = stringFunc(func(s string) (string, error) { return filepath.Base(s), nil })
	dirnameFunc  = stringFunc(func(s string) (string, error) { return filepath.Dir(s), nil })
)

// pathFunctions returns the functions of paths, relative ones starting from dir.
func (l *loader) pathFunctions(dir string) map[string]function.Function {
	return map[string]function.Function{
		"abspath": stringFunc(func(s string) (string, error) { return from(dir, s), nil }),
		"pathexpand": stringFunc(func(s string) (string, error) {
			if s != "~" && !strings.HasPrefix(s, "~/") {
				return s, nil
			}
			home := l.env["HOME"]
			if home == "" {
				return "", errors.New("~ stands for the environment variable HOME, which is not set")
			}
			return filepath.Join(home, s[1:]), nil
		}),
	}
}

// from resolves a path from a folder.
func from(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// fileFunctions returns the functions that read files, relative paths starting from dir.
func (l *loader) fileFunctions(dir string) map[string]function.Function {
	return map[string]function.Function{
		"file": stringFunc(func(s string) (string, error) { return readText(from(dir, s)) }),
		"fileexists": function.New(&function.Spec{
			Params: []function.Parameter{{Name: "path", Type: cty.String}},
			Type:   function.StaticReturnType(cty.Bool),
			Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
				st, err := os.Stat(from(dir, args[0].AsString()))
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					return cty.NilVal, function.NewArgError(0, err)
				}
				return cty.BoolVal(err == nil && st.Mode().IsRegular()), nil
			},
		}),
		"templatefile": l.templateFunc(dir),
	}
}

// readText reads a regular file of at most maxFile bytes.
func readText(path string) (string, error) {
	// Opening a pipe would wait for its other end, so look before.
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxFile {
		return "", fmt.Errorf("%s has more than %d bytes; mount it into the sub-kernel instead", path, maxFile)
	}
	if !utf8.Valid(b) {
		return "", fmt.Errorf("%s is not UTF-8 text; mount it into the sub-kernel instead", path)
	}
	return string(b), nil
}

// templateFunc makes templatefile(PATH, VARS). A template can't call it in turn, so that there is an end.
func (l *loader) templateFunc(dir string) function.Function {
	render := func(args []cty.Value) (cty.Value, error) {
		pathVal, pathMarks := args[0].Unmark()
		path := from(dir, pathVal.AsString())
		text, err := readText(path)
		if err != nil {
			return cty.NilVal, function.NewArgError(0, err)
		}
		diags := checkTemplateNesting(path, []byte(text))
		var expr hclsyntax.Expression
		if !diags.HasErrors() {
			expr, diags = hclsyntax.ParseTemplate([]byte(text), path, hcl.InitialPos)
		}
		if diags.HasErrors() {
			return cty.NilVal, function.NewArgErrorf(0, "%s", diags[0].Error())
		}
		vars, varMarks := args[1].Unmark()
		values := vars.AsValueMap()
		for _, t := range expr.Variables() {
			if _, ok := values[t.RootName()]; !ok {
				return cty.NilVal, function.NewArgErrorf(1, "%s uses %q, which is not among the variables given", t.SourceRange(), t.RootName())
			}
		}
		funcs := maps.Clone(pureFunctions)
		funcs["env"] = envFunc(l.env)
		maps.Copy(funcs, l.pathFunctions(dir))
		v, diags := expr.Value(&hcl.EvalContext{Variables: values, Functions: funcs})
		if diags.HasErrors() {
			return cty.NilVal, function.NewArgErrorf(0, "%s", diags[0].Error())
		}
		return v.WithMarks(pathMarks, varMarks), nil
	}
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String, AllowMarked: true}, {Name: "vars", Type: cty.DynamicPseudoType, AllowMarked: true}},
		Type: func(args []cty.Value) (cty.Type, error) {
			if ty := args[1].Type(); !ty.IsObjectType() && !ty.IsMapType() {
				return cty.NilType, function.NewArgErrorf(1, "must be a map of the template's variables, such as { name = \"value\" }")
			}
			return cty.DynamicPseudoType, nil
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return render(args) },
	})
}
