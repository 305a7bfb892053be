module github.com/lectern/lectern/emit

go 1.22

require github.com/lectern/lectern/wire v0.1.0
