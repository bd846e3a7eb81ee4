# The smallest flake that builds something: no inputs, and no other program than the shell that every builder has.
{
  outputs = { self }: {
    packages.x86_64-linux.default = derivation {
      name = "greeting";
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = [ "-ec" "read -r name < $source/name; echo \"hello, $name\" > $out" ];
      source = self;
    };
  };
}
