// Validates JSON by the schemas of the two files that are its arguments.
//
// Each line of standard input is an array: the number of a schema, and a value. Each line of
// standard output is what is wrong with the value, as an array of texts.
const fs = require("fs");
const readline = require("readline");
const Ajv = require("ajv").default;

const ajv = new Ajv({ strict: false, allErrors: true });
const validators = process.argv.slice(2).map((file) => ajv.compile(JSON.parse(fs.readFileSync(file))));

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [number, value] = JSON.parse(line);
  const validate = validators[number];
  const errors = validate(value) ? [] : validate.errors.map((e) => `${e.instancePath} ${e.message}`);
  console.log(JSON.stringify(errors));
});
